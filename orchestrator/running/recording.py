"""The records of a sweep while it runs: written again as trials finish, so that tables and reports show what is there.

The driver alone writes, in a thread beside the run, each time one whole file in place of the last: no parts are ever
left to compact, and a reader has the old file or the new one. A pause follows, many times as long as the writing took.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orchestrator import record
from orchestrator.planning import adaptive
from orchestrator.storage.writing import NotWritable
from orchestrator.store import Damaged

if TYPE_CHECKING:
    import pyarrow

    from orchestrator.frontier import Frontier
    from orchestrator.plan import Plan
    from orchestrator.store import Failure, Outcome, Store

PAUSE = 5.0  # seconds between two writings, at least
SHARE = 0.03  # of the time, at most, goes into them


@contextmanager
def recording(plan: Plan, store: Store, frontier: Frontier) -> Iterator[None]:
    """Keep the records up to date as long as the run goes on; what has ended last is written by its end, not here."""
    ended = threading.Event()
    thread = threading.Thread(target=_write_again, args=(plan, store, frontier, ended), name="records", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _write_again(plan: Plan, store: Store, frontier: Frontier, ended: threading.Event) -> None:
    written, pause = -1, 0.0
    while not ended.wait(pause):
        done, failures = frontier.done.copy(), frontier.failures.copy()
        pause = PAUSE
        if len(done) + len(failures) == written:
            continue
        start = time.monotonic()
        with suppress(NotWritable):  # the run meets it too, and says it
            write_partial(plan, store, done, failures)
        written, pause = len(done) + len(failures), max(PAUSE, (time.monotonic() - start) / SHARE)


def write_partial(plan: Plan, store: Store, done: dict[str, Outcome], failures: Mapping[str, Failure]) -> None:
    """Write the rows and curves of what is there."""
    folder = store.records_folder(plan.spec.record_name)
    record.write(folder, record.rows(plan, done, failures), plan.spec)
    histories: dict[str, pyarrow.Table] = {}
    for key in plan.nodes.keys() & done.keys():
        with suppress(Damaged):  # the end of the run sees to it
            if (table := store.history(done[key])) is not None:
                histories[key] = table
    record.write_curves(folder, record.curves(adaptive.wanted(plan, done, failures), histories), plan.spec)
    store.publish(folder)
    store.publish(store.sweep_folder(plan.spec.record_name))  # its log
