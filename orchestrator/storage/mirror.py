"""Folders of an object store as they are on this host: what has changed there comes, what has changed here goes.

For what a driver writes and readers read: specs, records, index, failures. Which version of a file is here stands in
`synced/`: a file that the store has not changed since is left alone, one that was removed there goes here, and one that
was never there stays.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.storage.bucket import Bucket, Entry
from orchestrator.storage.writing import write_atomically

LEDGERS = "tracking"  # below sweeps/NAME: what MLflow has got from this host
STAYS = {LEDGERS, "run.log"}  # is not brought: a log may be being written here
Known = dict[str, list[str | int]]
"""Of each file that store and host have in common: the object's tag, the file's size and time of change."""


@dataclass(frozen=True)
class Mirror:
    """The files below `root`, and the objects of the same names."""

    root: Path
    bucket: Bucket

    def pull(self, folder: str) -> None:
        """Make a folder what it is in the store, but for what was only ever written here."""
        with self._known(folder) as known:
            there = {item.name: item for item in self.bucket.entries(f"{folder}/") if self._comes(item.name)}
            for name in [name for name in _under(folder, known) if name not in there and self._comes(name)]:
                (self.root / name).unlink(missing_ok=True)
                del known[name]
            stale = [item for name, item in there.items() if not self._is_here(item, known.get(name))]
            for item, here in zip(stale, self.bucket.many(self._bring, stale), strict=True):
                if here:
                    known[item.name] = here

    def push(self, folder: str) -> None:
        """Send what was written here since, and remove there what was removed here."""
        with self._known(folder) as known:
            found = dict(self._files(folder))
            for name in [name for name in _under(folder, known) if name not in found]:
                self.bucket.remove(name)
                del known[name]
            changed = [name for name, path in found.items() if known.get(name, [])[1:] != _state(path)]
            for name, sent in zip(changed, self.bucket.many(self.send, changed), strict=True):
                known[name] = sent

    def push_file(self, name: str) -> None:
        """Send one file."""
        with self._known(name.split("/")[0]) as known:
            known[name] = self.send(name)

    def send(self, name: str) -> list[str | int]:
        """Write one object from its file."""
        path = self.root / name
        state = _state(path)
        return [self.bucket.put(name, path.read_bytes()), *state]

    def bring(self, name: str) -> bool:
        """Bring one file, if the store has it."""
        found = self.bucket.get(name)
        if found is not None:
            write_atomically(self.root / name, found.content)
        return found is not None

    def _bring(self, item: Entry) -> list[str | int] | None:
        """None where it was removed meanwhile."""
        found = self.bucket.get(item.name)
        if found is None:
            return None
        write_atomically(self.root / item.name, found.content)
        return [found.tag, *_state(self.root / item.name)]

    def _is_here(self, item: Entry, known: list[str | int] | None) -> bool:
        return known is not None and known[0] == item.tag and (self.root / item.name).exists()

    @staticmethod
    def _comes(name: str) -> bool:
        return plain(name) and not STAYS.intersection(name.split("/"))

    def _files(self, folder: str) -> Iterator[tuple[str, Path]]:
        """What is sent of a folder."""
        for path in sorted((self.root / folder).rglob("*")):
            name = path.relative_to(self.root)
            if path.is_file() and not path.name.startswith(".") and LEDGERS not in name.parts:
                yield name.as_posix(), path

    @contextmanager
    def _known(self, folder: str) -> Iterator[Known]:
        """What is common to both of a folder; one process of this host at a time sees to it."""
        path = self.root / "synced" / f"{folder.split('/')[0]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known: Known = {}
            with suppress(OSError, ValueError):
                known = json.loads(path.read_text())
            try:
                yield known
            finally:
                write_atomically(path, json.dumps(known))


def plain(name: str) -> bool:
    """Whether an object's name is that of a file below a folder, and leads nowhere else: anyone may have written it.

    Example:
        >>> plain("sweeps/demo/plan.json"), plain("sweeps/../../x"), plain("/etc/x"), plain("a//b")
        (True, False, False, False)
    """
    return not set("\\\0") & set(name) and all(part not in ("", ".", "..") for part in name.split("/"))


def _under(folder: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{folder}/")]


def _state(path: Path) -> list[str | int]:
    with suppress(FileNotFoundError):
        found = os.stat(path)
        return [found.st_size, found.st_mtime_ns]
    return [0, 0]
