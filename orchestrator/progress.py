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
    StopAsked,
    TrialsAdded,
)
from orchestrator.terminal.tally import Left, Running, Tally

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from orchestrator.plan import Plan

Mode = Literal["auto", "live", "plain", "json", "quiet"]
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
}


class Progress:
    """An observer that shows how far a run is. Use as a context manager around the run.

    Args:
        needed: The nodes that this run sets out to compute.
        stream: Where to show it.
        mode: "auto" is a live view on a terminal and plain lines elsewhere.
        packing: How the run is spread over the machine, said first; empty where there is nothing to do.
        wanted: The trials that adaptive seeds ask for so far; None for all of the plan.
    """

    def __init__(
        self,
        plan: Plan,
        needed: Iterable[str],
        stream: TextIO,
        mode: Mode = "auto",
        packing: str = "",
        wanted: Collection[int] | None = None,
    ) -> None:
        self.tally = Tally(plan, needed, time.time(), wanted)
        self._name, self._stream = plan.spec.record_name, stream
        self._mode: Mode = ("live" if stream.isatty() else "plain") if mode == "auto" else mode
        self._packing = packing
        self._clock = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None
        self._live: Any = None

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
            first_failure = isinstance(event, NodeFailed) and not self.tally.failed
            self.tally.take(event)
        if self._mode == "json":
            self._print_json(NAMES[type(event)], event.time, _event_fields(event, self.tally))
        elif self._mode != "quiet" and isinstance(event, InputDamaged | StopAsked):
            self._print(f"{self._name}: {_notice(event)}")
        elif self._mode == "plain" and first_failure:
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
            console.size = os.get_terminal_size(self._stream.fileno())
        with self._lock:
            return frame(self._name, self.tally, self._now(), *console.size)


def _notice(event: InputDamaged | StopAsked) -> str:
    if isinstance(event, InputDamaged):
        return f"computed again: {event.error}"
    return f"stopping: {event.why}" if event.why else "stopping; once more (Ctrl-C) leaves at once"


def _event_fields(event: Event, tally: Tally) -> dict[str, Any]:
    if isinstance(event, StopAsked):
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


def duration(seconds: float) -> str:
    """Example:
    >>> [duration(value) for value in (4.2, 75, 3725, 200000)]
    ['4 s', '1:15 min', '1:02 h', '2 d 7 h']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 86400:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def left_text(left: Left | None) -> str:
    """Example:
    >>> left_text(Left(75.0, 12.0, False))
    '~1:15 min left (+- 12 s)'
    """
    if left is None or (left.at_least and left.seconds < 1):
        return ""
    spread = f" (+- {duration(left.spread)})" if left.spread is not None and left.spread >= 1 else ""
    return f"{'more than ' if left.at_least else '~'}{duration(left.seconds)} left{spread}"


def start_line(name: str, tally: Tally) -> str:
    """The first plain line."""
    done = f", {tally.trials_done} already done" if tally.trials_done else ""
    return f"{name}: {tally.trials} trials{done}; {len(tally.needed)} of {len(tally.plan.nodes)} nodes to run"


def node_counts(tally: Tally) -> str:
    """The nodes by what became of them, without what there is none of."""
    counts = {"done": len(tally.done), "failed": len(tally.failed), "skipped": len(tally.skipped)}
    counts |= {"running": len(tally.running), "waiting": tally.waiting}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "done")


def progress_line(name: str, tally: Tally, now: float) -> str:
    """A plain line on how far the run is."""
    parts = [f"{name}: {tally.trials_done} of {tally.trials} trials", f"nodes: {node_counts(tally)}"]
    parts.append(duration(now - tally.started))
    if tally.running or tally.waiting:
        parts.append(left_text(tally.left(now)))
    return "; ".join(part for part in parts if part)


def frame(name: str, tally: Tally, now: float, width: int, height: int) -> Group:
    """One picture of the live view: lines that are cut, never wrapped, and no more of them than the window has."""
    from rich.console import Group
    from rich.text import Text

    over = not tally.running and not tally.waiting
    lines = [
        Text.assemble((name, "bold"), "  ", (duration(now - tally.started), "dim")),
        _bar(tally, width),
        Text(f"nodes   {node_counts(tally)}"),
        Text(f"pace    {pace_text(tally, now)}  {'' if over else left_text(tally.left(now))}".rstrip()),
    ]
    errors = [Text(f"error   {tally.last_error}", "red")] if tally.last_error else []
    room = max(1, height - len(lines) - len(errors) - 2)
    running = [*tally.running.values()]
    shown = running if len(running) <= room else running[: room - 1]
    lines += [_running_line(item, width) for item in shown]
    if len(shown) < len(running):
        lines.append(Text(f"        and {len(running) - len(shown)} more", "dim"))
    for line in (*lines, *errors):
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines, *errors)


def pace_text(tally: Tally, now: float) -> str:
    """Nodes per second, minute or hour: whichever is easy to read."""
    rate = tally.rate(now)
    if rate == 0:
        return "nothing finished yet"
    for unit, seconds in (("s", 1), ("min", 60)):
        if rate * seconds >= 1:
            return f"{rate * seconds:.1f} nodes/{unit}"
    return f"{rate * 3600:.1f} nodes/h"


def _bar(tally: Tally, width: int) -> Text:
    from rich.text import Text

    count = f" {tally.trials_done}/{tally.trials}"
    size = max(5, min(40, width - len("trials  ") - len(count)))
    full = size * tally.trials_done // max(tally.trials, 1)
    return Text.assemble("trials  ", ("━" * full, "green"), ("─" * (size - full), "dim"), count)


def _running_line(running: Running, width: int) -> Text:
    from rich.text import Text

    steps = {} if running.step is None or "epoch" in running.values else {"step": running.step}
    values = {**steps, **running.values} if running.step is not None else {}
    shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
    room = max(16, width // 2 - 10)
    label = running.label if not shown or len(running.label) <= room else running.label[: room - 1] + "…"
    return Text.assemble("        " if width >= 60 else "  ", (label, "cyan"), "  " if shown else "", shown)
