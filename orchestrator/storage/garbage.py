"""`sweep gc`: what no saved sweep of a store needs, and its removal.

A sweep is saved as long as its folder sweeps/NAME is there; removing that forgets it. Only what this module recognizes
as the store's own is ever removed. While drivers run, whatever is leased, or newer than an hour or than the
first of them stays, and files that hold also what is needed are left as they are.

What a driver misses because it was removed between its look at the store and its use, it computes again: the store is
whole at any moment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrator.storage import index
from orchestrator.storage.leases import BEAT, Driver, Leases
from orchestrator.store import Store, write_atomically

RECENT = 3600.0  # seconds; what is younger is left alone while a driver runs
KEY = re.compile(r"[0-9a-f]{40}")
HALF_WRITTEN = re.compile(r"\.([0-9a-f]{40})-[0-9a-f]{8}")
ASIDE = re.compile(r"([0-9a-f]{40})-[0-9a-f]{8}")


@dataclass(frozen=True)
class Waste:
    """One thing that nothing needs.

    Attributes:
        what: node, failure, log, checkpoint, damaged, half-written, records.
        path: A file or a folder.
    """

    what: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class Batch:
    """A file of rows with some that nothing needs.

    Attributes:
        kept: The lines that stay.
        removed: How many do not, and their bytes.
    """

    path: Path
    kept: tuple[str, ...]
    removed: int
    bytes: int


@dataclass(frozen=True)
class Garbage:
    """What can be removed from a store.

    Attributes:
        drivers: Those that run now.
    """

    waste: Sequence[Waste] = ()
    batches: Sequence[Batch] = ()
    drivers: Sequence[Driver] = ()

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """How many things of each kind, and their bytes."""
        found: dict[str, tuple[int, int]] = {}
        for item in self.waste:
            count, size = found.get(item.what, (0, 0))
            found[item.what] = count + 1, size + item.bytes
        if self.batches:
            found["row"] = sum(item.removed for item in self.batches), sum(item.bytes for item in self.batches)
        return found


@dataclass
class _Search:
    store: Store
    needed: Collection[str]
    names: Collection[str]
    drivers: Sequence[Driver]

    @cached_property
    def recent(self) -> float:
        """Since when things are recent: for an hour, or since the first of the drivers began."""
        identities = (self.store.root / "work" / "drivers" / f"{driver.name}.json" for driver in self.drivers)
        return min([time.time() - RECENT, *(path.stat().st_mtime for path in identities if path.exists())])

    def waste(self) -> Iterator[Waste]:
        root = self.store.root
        yield from self._nodes(root / "nodes")
        for path in _entries(root / "failed", "*.json"):
            yield from self._unneeded("failure", path, path.stem)
        for path in _entries(root / "logs", "[0-9a-f][0-9a-f]/*.log"):
            yield from self._unneeded("log", path, path.stem)
        for path in _entries(root / "work", "*"):
            if KEY.fullmatch(path.name):  # of a finished node, a checkpoint that its worker could not remove
                yield from self._unneeded("checkpoint", path, "" if self.store.holds(path.name) else path.name)
        for path in _entries(root / "damaged", "*"):
            if ASIDE.fullmatch(path.name):
                yield from self._unneeded("damaged", path, "")
        for path in _entries(root / "records", "*"):
            if path.name not in self.names and (path / "trials.parquet").is_file():
                yield from self._unneeded("records", path, "")

    def _nodes(self, folder: Path) -> Iterator[Waste]:
        for path in _entries(folder, "[0-9a-f][0-9a-f]/*"):
            if KEY.fullmatch(path.name):
                yield from self._unneeded("node", path, path.name)
            elif HALF_WRITTEN.fullmatch(path.name) and self._is_old(path):
                yield Waste("half-written", path, _size(path))

    def batches(self) -> Iterator[Batch]:
        """Files of rows; while a driver runs only those of which nothing is needed."""
        for path in _entries(self.store.rows_folder, "*.jsonl"):
            lines = path.read_text().splitlines()
            kept = tuple(line for line in lines if self._keeps(line))
            if len(kept) < len(lines) and self._is_free(path) and not (kept and self.drivers):
                size = path.stat().st_size - sum(len(line) + 1 for line in kept)
                yield Batch(path, kept, len(lines) - len(kept), size)

    def _keeps(self, line: str) -> bool:
        """Whether a row is needed, or is none that we know."""
        key = _key(line)
        return key is None or key in self.needed

    def _unneeded(self, what: str, path: Path, key: str) -> Iterator[Waste]:
        if key not in self.needed and self._is_free(path):
            yield Waste(what, path, _size(path))

    def _is_free(self, path: Path) -> bool:
        """Whether no running driver can be at it."""
        return not self.drivers or (self._is_old(path) and not (self.store.root / "work/leases" / path.stem).exists())

    def _is_old(self, path: Path) -> bool:
        with suppress(OSError):
            return path.stat().st_mtime < self.recent
        return False


def garbage(store: Store, needed: Collection[str], names: Collection[str]) -> Garbage:
    """What is in `store` beside the nodes `needed` and the records of the sweeps `names`.

    Takes half a minute where a driver of another host may run: its heart is listened to.
    """
    drivers = _living(store)
    search = _Search(store, needed, names, drivers)
    return Garbage([*search.waste()], [*search.batches()], drivers)


def remove(store: Store, found: Garbage) -> None:
    """Remove it; the index forgets what is gone, and not what it has cost."""
    moved: dict[tuple[str, str], str] = {}
    for batch in found.batches:
        if batch.kept:
            name = f"{uuid.uuid4().hex}.jsonl"
            write_atomically(store.rows_folder / name, "".join(f"{line}\n" for line in batch.kept))
            moved.update({(key, batch.path.name): name for key in filter(None, map(_key, batch.kept))})
        batch.path.unlink(missing_ok=True)
    for item in found.waste:
        _remove(item.path)
    index.move(store, moved)


def _living(store: Store) -> list[Driver]:
    leases = Leases(store)
    living = leases.drivers()
    until = time.monotonic() + 3 * BEAT + 1
    while any(not driver.here() for driver in living) and time.monotonic() < until:
        time.sleep(1)
        living = leases.drivers()
    return living


def _remove(path: Path) -> None:
    """A folder is renamed first, so that nobody sees half a node."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    with suppress(FileNotFoundError):
        os.rename(path, aside)
        shutil.rmtree(aside, ignore_errors=True)


def _key(line: str) -> str | None:
    """Of which node a row is; None for what is no row."""
    try:
        return str(json.loads(line)["key"])
    except (ValueError, KeyError, TypeError):
        return None


def _entries(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
