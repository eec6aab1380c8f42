"""Where drivers leave word for each other: small texts under names, some of which only one of many can write."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from orchestrator.storage.writing import write_atomically


class Note(NamedTuple):
    """What stands under a name; `tag` tells it from any other that may stand there later."""

    text: str
    tag: str


class Board(Protocol):
    """A board that many processes use at once, on one host or on many."""

    @property
    def away(self) -> float:
        """Until when nothing could be read, on this process's monotonic clock."""
        ...

    def prepare(self) -> None:
        """Make it where it is missing."""
        ...

    def read(self, name: str) -> Note | None:
        """What stands there; None if nothing does."""
        ...

    def write(self, name: str, text: str) -> None:
        """Write it, in place of what stands there."""
        ...

    def claim(self, name: str, identity: str, over: Note | None = None) -> bool:
        """Copy the note `identity` to `name`, if nothing, or still `over`, stands there: of many, one succeeds."""
        ...

    def give_back(self, name: str, note: str) -> None:
        """Remove what stands there if it says `note`; soon, at the latest when `settle` returns."""
        ...

    def settle(self) -> None:
        """Wait until all is given back."""
        ...

    def remove(self, name: str) -> None:
        """Remove what stands there, if anything does."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of a folder, without it."""
        ...

    def age(self, name: str) -> float | None:
        """Seconds since it was written, as far as clocks agree; None if nothing stands there."""
        ...

    def each(self, work: Callable[[str], bool], names: Iterable[str]) -> list[str]:
        """Those of `names` for which `work` is true, in their order."""
        ...


@dataclass(frozen=True)
class FolderBoard:
    """A board in a folder. What only one can write is a hard link: it never exists half-written."""

    root: Path
    away = -1e9  # a folder that cannot be read raises

    def prepare(self) -> None:
        for folder in ("leases", "drivers"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> Note | None:
        with contextlib.suppress(OSError):
            text = (self.root / name).read_text(errors="replace")
            return Note(text, text)
        return None

    def write(self, name: str, text: str) -> None:
        write_atomically(self.root / name, text)

    def claim(self, name: str, identity: str, over: Note | None = None) -> bool:
        if over is not None and not self._take_away(name, over.text):
            return False
        try:
            os.link(self.root / identity, self.root / name)
        except FileExistsError:
            return False
        return True

    def _take_away(self, name: str, note: str) -> bool:
        """Not what another driver has written in its place meanwhile."""
        path = self.root / name
        aside = path.with_name(f".void-{uuid.uuid4().hex}")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        try:
            same = aside.read_text(errors="replace") == note
            if not same:
                with contextlib.suppress(FileExistsError):
                    os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        return same

    def give_back(self, name: str, note: str) -> None:
        found = self.read(name)
        if found is not None and found.text == note:
            (self.root / name).unlink(missing_ok=True)

    def settle(self) -> None:
        """Nothing: all was done at once."""

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.root / folder) if not name.startswith("."))
        return []

    def age(self, name: str) -> float | None:
        with contextlib.suppress(OSError):
            return max(0.0, time.time() - (self.root / name).stat().st_mtime)
        return None

    def each(self, work: Callable[[str], bool], names: Iterable[str]) -> list[str]:
        return [name for name in names if work(name)]
