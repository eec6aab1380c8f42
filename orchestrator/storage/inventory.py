"""What lies in a store, by name: for those who look for what nothing needs. A name is a path below the store's root."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from orchestrator.storage.bucket import Bucket
from orchestrator.storage.mirror import plain
from orchestrator.storage.outcome import OUTCOME
from orchestrator.storage.writing import write_atomically

HALF_WRITTEN = re.compile(r"\.([0-9a-f]{40})-[0-9a-f]{8}")


class Inventory(Protocol):
    """The files and folders of a store."""

    def now(self) -> float:
        """The time that `changed` goes by."""
        ...

    def entries(self, folder: str, pattern: str) -> list[str]:
        """The names of the files and folders below a folder that match, as `glob` has it, sorted."""
        ...

    def holds(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        ...

    def is_partial(self, name: str) -> bool:
        """Whether what lies at a node's place was begun to be written and is no node."""
        ...

    def size(self, name: str) -> int:
        """Bytes of a file, or of all in a folder."""
        ...

    def changed(self, name: str) -> float | None:
        """When it was written last, in unix seconds; None if it is gone."""
        ...

    def texts(self, names: Iterable[str]) -> list[str]:
        """What text files say."""
        ...

    def write(self, name: str, text: str) -> None:
        """Write a new file."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file or a folder; nobody sees half a node."""
        ...


@dataclass(frozen=True)
class FolderInventory:
    """That of a folder of this host."""

    root: Path

    def now(self) -> float:
        return time.time()

    def entries(self, folder: str, pattern: str) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path in sorted((self.root / folder).glob(pattern))]

    def holds(self, name: str) -> bool:
        return (self.root / name).exists()

    def is_partial(self, name: str) -> bool:
        return HALF_WRITTEN.fullmatch(name.split("/")[-1]) is not None

    def size(self, name: str) -> int:
        path = self.root / name
        files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        return sum(item.stat().st_size for item in files)

    def changed(self, name: str) -> float | None:
        with suppress(OSError):
            return (self.root / name).stat().st_mtime
        return None

    def texts(self, names: Iterable[str]) -> list[str]:
        return [(self.root / name).read_text() for name in names]

    def write(self, name: str, text: str) -> None:
        write_atomically(self.root / name, text)

    def remove(self, name: str) -> None:
        """A folder is renamed first."""
        path = self.root / name
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
        with suppress(FileNotFoundError):
            os.rename(path, aside)
            shutil.rmtree(aside, ignore_errors=True)


class _Total(NamedTuple):
    """Of a file, or of all in a folder."""

    size: int
    changed: float
    files: tuple[str, ...]


@dataclass(frozen=True)
class BucketInventory:
    """That of a bucket, listed once; what is removed there goes from the mirror too."""

    bucket: Bucket
    mirror: FolderInventory

    @cached_property
    def _listed(self) -> dict[str, _Total]:
        """By the name of each object, and of each folder above it."""
        sizes: dict[str, int] = {}
        changed: dict[str, float] = {}
        files: dict[str, list[str]] = {}
        for entry in self.bucket.entries():
            if not plain(entry.name):  # nothing of ours; anyone may have written it
                continue
            parts = entry.name.split("/")
            for end in range(1, len(parts) + 1):
                name = "/".join(parts[:end])
                sizes[name] = sizes.get(name, 0) + entry.size
                changed[name] = max(changed.get(name, 0.0), entry.changed)
                files.setdefault(name, []).append(entry.name)
        return {name: _Total(sizes[name], changed[name], tuple(files[name])) for name in sizes}

    @cached_property
    def _names(self) -> dict[tuple[str, int], list[str]]:
        """The names that lie so deep, by the first part of their path."""
        found: dict[tuple[str, int], list[str]] = {}
        for name in sorted(self._listed):
            parts = name.split("/")
            found.setdefault((parts[0], len(parts)), []).append(name)
        return found

    def now(self) -> float:
        return self.bucket.now()

    def entries(self, folder: str, pattern: str) -> list[str]:
        patterns = f"{folder}/{pattern}".split("/")
        names = self._names.get((patterns[0], len(patterns)), [])
        return [name for name in names if all(map(fnmatchcase, name.split("/"), patterns))]

    def holds(self, name: str) -> bool:
        return name in self._listed

    def is_partial(self, name: str) -> bool:
        return not self.holds(f"{name}/{OUTCOME}")

    def size(self, name: str) -> int:
        return self._listed[name].size

    def changed(self, name: str) -> float | None:
        return self._listed[name].changed if name in self._listed else None

    def texts(self, names: Iterable[str]) -> list[str]:
        return ["" if item is None else item.content.decode() for item in self.bucket.many(self.bucket.get, names)]

    def write(self, name: str, text: str) -> None:
        self.bucket.put(name, text.encode())

    def remove(self, name: str) -> None:
        """What commits a node first."""
        files = self._listed[name].files
        for last in (True, False):
            self.bucket.many(self.bucket.remove, [file for file in files if file.endswith(f"/{OUTCOME}") is last])
        self.mirror.remove(name)
