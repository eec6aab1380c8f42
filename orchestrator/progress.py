"""What a terminal shows while a sweep runs: one live view, or plain lines, or JSON lines, or nothing."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

from orchestrator.running.events import (
    Event,
    InputDamaged,
    NodeDone,
    NodeFailed,
    NodeLogged,
    NodeSampled,
    NodeSkipped,
    NodeStarted,
    NoRoom,
    StopAsked,
    TrialsAdded,
)
from orchestrator.terminal.failures import failure_text
from orchestrator.terminal.live import frame
from orchestrator.terminal.tally import Tally
from orchestrator.terminal.wording import progress_line, start_line

if TYPE_CHECKING:
    from rich.console import Group

    from orchestrator.plan import Plan
    from orchestrator.store import Store

Mode = Literal["auto", "live", "plain", "json", "quiet"]
FAILURES = 3  # shown as they happen, one of each kind; the end has all kinds
PLAIN_SECONDS = 30.0  # between lines where there is no terminal
FRAMES_PER_SECOND = 2
NAMES = {
    NodeStarted: "node_started",
    NodeLogged: "node_logged",
    NodeSampled: "node_sampled",
    NodeDone: "node_done",
    NodeFailed: "node_failed",
    NodeSkipped: "node_skipped",
    TrialsAdded: "trials_added",
    InputDamaged: "input_damaged",
    StopAsked: "stop_asked",
    NoRoom: "no_room",
}


class Progress:
    """An observer that shows how far a run is. Use as a context manager around the run.

    Args:
        needed: The nodes that this run sets out to compute.
        stream: Where to show it.
        mode: "auto" is a live view on a terminal and plain lines elsewhere.
        packing: How the run is spread over the machine, said first; empty where there is nothing to do.
        wanted: The trials that adaptive seeds ask for so far; None for all of the plan.
        store: Where the sweep lies, for the command that runs a failed trial alone.
    """

    def __init__(
        self,
        plan: Plan,
        needed: Iterable[str],
        stream: TextIO,
        mode: Mode = "auto",
        packing: str = "",
        wanted: Collection[int] | None = None,
        store: Store | None = None,
    ) -> None:
        self.tally = Tally(plan, needed, time.time(), wanted)
        self._name, self._stream = plan.spec.record_name, stream
        self._mode: Mode = ("live" if stream.isatty() else "plain") if mode == "auto" else mode
        self._packing, self._plan, self._store = packing, plan, store
        self._shown: set[str] = set()  # the kinds of errors
        self._clock = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None
        self._live: Any = None
        self._size: os.terminal_size | None = None

    def __enter__(self) -> Progress:
        if self._mode == "plain":
            self._print(start_line(self._name, self.tally))
            self._say_packing()
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        elif self._mode == "json":
            counts = {"trials": self.tally.trials, "trials_done": self.tally.trials_done}
            self._print_json(
                "sweep_started",
                self.tally.started,
                {**counts, "nodes": len(self.tally.needed), "packing": self._packing},
            )
        elif self._mode == "live":
            self._say_packing()
            self._start_live()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
        now = self._now()
        if self._mode == "plain":
            self._print(progress_line(self._name, self.tally, now))
        elif self._mode == "json":
            counts = {"trials_done": self.tally.trials_done, "executed": self.tally.executed}
            counts |= {"failed": len(self.tally.failed), "skipped": len(self.tally.skipped)}
            self._print_json("sweep_ended", now, {**counts, "seconds": now - self.tally.started})
        elif self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.tally.take(event)
        if self._mode == "json":
            self._print_json(NAMES[type(event)], event.time, _event_fields(event, self.tally))
        elif self._mode != "quiet" and isinstance(event, InputDamaged | StopAsked | NoRoom):
            self._print(f"{self._name}: {_notice(event)}")
        elif self._mode != "quiet" and isinstance(event, NodeFailed):
            self._say_failure(event)

    def _say_failure(self, event: NodeFailed) -> None:
        """The first of each kind."""
        error = event.failure.error
        if error in self._shown or len(self._shown) >= FAILURES:
            return
        self._shown.add(error)
        if self._store is not None:
            self._print(f"{self._name}: {failure_text(self._plan, event.key, error, self._store)}")
        else:
            self._print(f"{self._name}: failed: {self.tally.last_error}")

    def _now(self) -> float:
        """Unix seconds, as if nobody had set the clock since the run began: no duration is negative."""
        return self.tally.started + time.monotonic() - self._clock

    def _say_packing(self) -> None:
        if self._packing:
            self._print(f"{self._name}: {self._packing}")

    def _tick(self) -> None:
        while not self._ended.wait(PLAIN_SECONDS):
            with self._lock:
                line = progress_line(self._name, self.tally, self._now())
            self._print(line)

    def _print(self, line: str) -> None:
        try:
            if self._live is not None and self._live.is_started:  # above the view, which stays whole
                for part in line.splitlines():  # a part that is cut is said whole at the end
                    self._live.console.print(part, markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
            else:
                print(line, file=self._stream, flush=True)
        except (OSError, ValueError):  # whoever read this has gone; the run goes on
            self._mode = "quiet"

    def _print_json(self, name: str, when: float, fields: Mapping[str, Any]) -> None:
        self._print(json.dumps({"event": name, "time": when, "sweep": self._name, **fields}, allow_nan=False))

    def _start_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, force_terminal=True, highlight=False)
        self._live = Live(
            console=console,
            get_renderable=lambda: self._frame(console),
            refresh_per_second=FRAMES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)

    def _frame(self, console: Any) -> Group:
        with suppress(OSError, ValueError):  # of this stream: the process' own may have been sent elsewhere
            size = os.get_terminal_size(self._stream.fileno())
            if self._size not in (None, size):  # the old picture was wrapped or cut: nobody knows where it begins now
                self._stream.write("\x1b[2J\x1b[H")
                self._stream.flush()
            console.size = self._size = size
        with self._lock:
            return frame(self._name, self.tally, self._now(), *console.size)


def _notice(event: InputDamaged | StopAsked | NoRoom) -> str:
    if isinstance(event, InputDamaged):
        return f"computed again: {event.error}"
    if isinstance(event, NoRoom):
        return event.why
    return f"stopping: {event.why}" if event.why else "stopping; once more (Ctrl-C) leaves at once"


def _event_fields(event: Event, tally: Tally) -> dict[str, Any]:
    if isinstance(event, StopAsked | NoRoom):
        return {"why": event.why}
    if isinstance(event, TrialsAdded):
        return {"trials": list(event.trials), "nodes": len(event.nodes)}
    fields: dict[str, Any] = {"key": event.key, "node": tally.label(event.key)}
    match event:
        case NodeStarted():
            fields["worker"] = event.worker
        case NodeLogged() | NodeSampled():
            fields |= {"step": event.step, "values": _plain_numbers(event.values)}
        case NodeDone():
            fields |= {"status": event.outcome.status, "seconds": event.outcome.seconds}
            fields["metrics"] = _plain_numbers(event.outcome.metrics)
        case NodeFailed():
            fields["error"] = event.failure.error
        case NodeSkipped():
            fields["because"] = event.because
        case InputDamaged():
            fields |= {"damaged": event.damaged, "error": event.error, "nodes": len(event.nodes)}
    return fields


def _plain_numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    """JSON knows no nan and inf: they are words."""
    return {name: value if value - value == 0 else str(value) for name, value in values.items()}
