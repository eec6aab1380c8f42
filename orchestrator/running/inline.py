"""The engine of `--inline`: everything in this process, without Ray, for tests and debuggers."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.execute import Executor
from orchestrator.frontier import Frontier
from orchestrator.running.events import Event, InputDamaged, NodeDone, NodeFailed, NodeStarted, StopAsked
from orchestrator.running.limits import TimeLimit
from orchestrator.running.provenance import provenance
from orchestrator.running.resources import Packing, Resources
from orchestrator.running.stopping import GRACE, Interrupted, Stopping
from orchestrator.store import Store

AGAIN = 0.05  # seconds until the alarm looks whether an import is over


def run_inline(
    frontier: Frontier, store: Store, data_dir: Path, resources: Resources, packing: Packing, stopping: Stopping
) -> None:
    """Run the frontier to its end.

    Raises:
        Interrupted: a stop was asked for.
        NotWritable: the store takes nothing any more.
    """
    with _Alarm(frontier, stopping) as alarm:
        executor = Executor(
            store,
            data_dir,
            resources.device,
            provenance(),
            alarm.publish,
            asked=lambda: stopping.number is not None,
            debugger=post_mortem if resources.debug else None,
        )
        while not frontier.finished:
            if stopping.number is not None:
                raise Interrupted(stopping.number)
            group = frontier.next()
            if group is None:
                time.sleep(0.1)  # what is left is another driver's, or is to wait a while
                continue
            try:
                executor.run(group)
            except Interrupted:
                if stopping.why:
                    frontier.tell(StopAsked(stopping.why, time.time()))
                raise Interrupted(stopping.number or signal.SIGINT) from None
            frontier.give_back(group)  # what a time limit has ended together with a node of its array


def post_mortem(error: BaseException) -> None:
    """A debugger where a node has failed."""
    import pdb
    import traceback

    traceback.print_exception(error)
    pdb.post_mortem(error.__traceback__)


class _Alarm:
    """Ends, by SIGALRM, nodes that take too long and a run that was asked to stop; only on the main thread."""

    def __init__(self, frontier: Frontier, stopping: Stopping) -> None:
        self._frontier, self._stopping = frontier, stopping
        self._ends: dict[str, float] = {}
        self._before: Any = None
        self._works = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> _Alarm:
        if self._works:
            self._before = signal.signal(signal.SIGALRM, self._ring)
            self._stopping.told = self._set
        return self

    def __exit__(self, *_: object) -> None:
        if self._works:
            self._stopping.told = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def publish(self, event: Event) -> None:
        """Hear of nodes that begin and end; the frontier hears it too."""
        if isinstance(event, NodeStarted):
            seconds = self._frontier.plan.nodes[event.key].time_limit
            if seconds is not None:
                self._ends[event.key] = time.monotonic() + seconds
                self._set()
        elif isinstance(event, NodeDone | NodeFailed | InputDamaged) and self._ends.pop(event.key, None) is not None:
            self._set()
        self._frontier.record(event)

    def _set(self) -> None:
        """Set the clock to what comes first."""
        if self._works:
            stop = [] if self._stopping.number is None else [self._stopping.since + GRACE]
            first = min([*self._ends.values(), *stop], default=None)
            signal.setitimer(signal.ITIMER_REAL, 0 if first is None else max(1e-3, first - time.monotonic()))

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        if self._stopping.number is not None and self._stopping.overdue():
            raise Interrupted(self._stopping.number)
        key = min(self._ends, key=self._ends.__getitem__, default=None)
        if key is not None and self._ends[key] <= time.monotonic():
            del self._ends[key]
            seconds = self._frontier.plan.nodes[key].time_limit
            assert seconds is not None  # it is among those that have one
            raise TimeLimit(key, seconds)
        self._set()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether an import is under way: an error in the midst of it may leave Python's lock on imports held for good,
    and whoever imports in another thread, as the one that writes records, would wait for ever."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
