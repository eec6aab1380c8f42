"""What comes into the store beside what this driver is told: other drivers' outcomes, and those of workers that died.

Outcomes without files lie in batch files, which can only be found by listing them all. A store with 100,000 of them
takes a fifth of a second to list: where that is long, a driver that is alone does it for a small part of the time only.
What it then sees late, of a driver that came and went meanwhile, is at worst computed twice, which changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable

from orchestrator.storage.index import arrived
from orchestrator.storage.outcome import Outcome, read_rows
from orchestrator.store import Store

QUICK = 2e-3  # seconds; a listing that takes no longer is done whenever somebody asks
SHARE = 0.02  # of the time, at most, goes into listings that take longer
URGENT = 0.25  # of the time, where somebody has lost a worker: a thousand may go at once


class Arrivals:
    """Looks into a store for outcomes that have come in since it was made.

    Args:
        alone: Whether no other driver is there. Where one is, what it gave back was finished just before.
    """

    def __init__(self, store: Store, alone: Callable[[], bool]) -> None:
        self._store, self._alone = store, alone
        self._seen = store.batches()
        self._rows: dict[str, Outcome] = {}
        self._ended = self._took = 0.0  # when the last listing was done, and how long that took

    def of(self, keys: Iterable[str], awaited: Container[str], share: float = SHARE) -> dict[str, Outcome]:
        """The outcomes of those of `keys` that are there.

        Args:
            awaited: What somebody may still ask for: of all else nothing is kept.
            share: The part of the time that may go into listing the batch files, where that is slow.
        """
        start = time.perf_counter()
        if self._took <= QUICK or start - self._ended >= self._took / share or not self._alone():
            found = arrived(self._store, self._seen)
            read_rows.cache_clear()  # nobody in a driver reads them again: they would be there twice
            self._rows.update((key, outcome) for key, outcome in found.items() if key in awaited)
            self._ended = time.perf_counter()
            self._took = self._ended - start
        asked = [*keys]
        found = {key: self._rows.pop(key) for key in asked if key in self._rows}
        return found | self._store.outcomes(key for key in asked if key not in found)

    def forget(self, key: str) -> None:
        """Nobody will ask for a node any more."""
        self._rows.pop(key, None)
