"""`sweep gc`: what no saved sweep of a store needs, and its removal.

A sweep is saved as long as its folder sweeps/NAME is there; removing that forgets it. Only what this module recognizes
as the store's own is ever removed. While drivers run, whatever is leased, or newer than an hour or than the
first of them stays, and files that hold also what is needed are left as they are.

What a driver misses because it was removed between its look at the store and its use, it computes again: the store is
whole at any moment.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.storage import index
from orchestrator.storage.inventory import Inventory
from orchestrator.storage.leases import BEAT, Driver, Leases
from orchestrator.store import Store

RECENT = 3600.0  # seconds; what is younger is left alone while a driver runs
KEY = re.compile(r"[0-9a-f]{40}")
ASIDE = re.compile(r"([0-9a-f]{40})-[0-9a-f]{8}")


@dataclass(frozen=True)
class Waste:
    """One thing that nothing needs.

    Attributes:
        what: node, failure, log, checkpoint, damaged, half-written, records.
        name: Of a file or a folder, below the store's root.
    """

    what: str
    name: str
    bytes: int


@dataclass(frozen=True)
class Batch:
    """A file of rows with some that nothing needs.

    Attributes:
        kept: The lines that stay.
        removed: How many do not, and their bytes.
    """

    name: str
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
    leases: Leases
    drivers: Sequence[Driver]

    @cached_property
    def inventory(self) -> Inventory:
        return self.store.inventory()

    @cached_property
    def leased(self) -> set[str]:
        return self.leases.leased()

    @cached_property
    def recent(self) -> float:
        """Since when things are recent: for an hour, or since the first of the drivers began."""
        ages = [age for driver in self.drivers if (age := self.leases.began(driver)) is not None]
        return self.inventory.now() - max([RECENT, *ages])

    def waste(self) -> Iterator[Waste]:
        entries = self.inventory.entries
        yield from self._nodes()
        for name in entries("failed", "*.json"):
            yield from self._unneeded("failure", name, _stem(name))
        for name in entries("logs", "[0-9a-f][0-9a-f]/*.log"):
            yield from self._unneeded("log", name, _stem(name))
        for name in entries("work", "*"):
            if KEY.fullmatch(key := _stem(name)):  # of a finished node, a checkpoint that its worker could not remove
                yield from self._unneeded("checkpoint", name, "" if self.store.holds(key) else key)
        for name in entries("damaged", "*"):
            if ASIDE.fullmatch(_stem(name)):
                yield from self._unneeded("damaged", name, "")
        for name in entries("records", "*"):
            if _stem(name) not in self.names and self.inventory.holds(f"{name}/trials.parquet"):
                yield from self._unneeded("records", name, "")

    def _nodes(self) -> Iterator[Waste]:
        for name in self.inventory.entries("nodes", "[0-9a-f][0-9a-f]/*"):
            key = _stem(name)
            if self.inventory.is_partial(name):
                yield from [Waste("half-written", name, self.inventory.size(name))] if self._is_old(name) else []
            elif KEY.fullmatch(key):
                yield from self._unneeded("node", name, key)

    def batches(self) -> Iterator[Batch]:
        """Files of rows; while a driver runs only those of which nothing is needed."""
        names = self.inventory.entries("nodes/rows", "*.jsonl")
        for name, text in zip(names, self.inventory.texts(names), strict=True):
            lines = text.splitlines()
            kept = tuple(line for line in lines if self._keeps(line))
            if len(kept) < len(lines) and self._is_free(name) and not (kept and self.drivers):
                size = self.inventory.size(name) - sum(len(line) + 1 for line in kept)
                yield Batch(name, kept, len(lines) - len(kept), size)

    def _keeps(self, line: str) -> bool:
        """Whether a row is needed, or is none that we know."""
        key = _key(line)
        return key is None or key in self.needed

    def _unneeded(self, what: str, name: str, key: str) -> Iterator[Waste]:
        if key not in self.needed and self._is_free(name):
            yield Waste(what, name, self.inventory.size(name))

    def _is_free(self, name: str) -> bool:
        """Whether no running driver can be at it."""
        return not self.drivers or (self._is_old(name) and _stem(name) not in self.leased)

    def _is_old(self, name: str) -> bool:
        changed = self.inventory.changed(name)
        return changed is not None and changed < self.recent


def garbage(store: Store, needed: Collection[str], names: Collection[str]) -> Garbage:
    """What is in `store` beside the nodes `needed` and the records of the sweeps `names`.

    Takes half a minute where a driver of another host may run: its heart is listened to.
    """
    leases = Leases(store)
    drivers = _living(leases)
    search = _Search(store, needed, names, leases, drivers)
    return Garbage([*search.waste()], [*search.batches()], drivers)


def remove(store: Store, found: Garbage) -> None:
    """Remove it; the index forgets what is gone, and not what it has cost."""
    inventory = store.inventory()
    moved: dict[tuple[str, str], str] = {}
    for batch in found.batches:
        if batch.kept:
            name = store.new_batch()
            inventory.write(f"nodes/rows/{name}", "".join(f"{line}\n" for line in batch.kept))
            old = batch.name.split("/")[-1]
            moved.update({(key, old): name for key in filter(None, map(_key, batch.kept))})
        inventory.remove(batch.name)
    for item in found.waste:
        inventory.remove(item.name)
    index.move(store, moved)


def _living(leases: Leases) -> list[Driver]:
    living = leases.drivers()
    until = time.monotonic() + 3 * BEAT + 1
    while any(not driver.here() for driver in living) and time.monotonic() < until:
        time.sleep(1)
        living = leases.drivers()
    return living


def _key(line: str) -> str | None:
    """Of which node a row is; None for what is no row."""
    try:
        return str(json.loads(line)["key"])
    except (ValueError, KeyError, TypeError):
        return None


def _stem(name: str) -> str:
    """The last part of a name, without its ending: `ab` of failed/ab.json."""
    last = name.split("/")[-1]
    return last.removesuffix(".json").removesuffix(".log").removesuffix(".jsonl")
