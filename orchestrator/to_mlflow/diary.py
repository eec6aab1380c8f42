"""What became of every node in this run of the driver, in words, and which of its steps were told already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.running.events import NodeDone, NodeFailed, NodeLogged, NodeSkipped, NodeStarted
from orchestrator.store import Outcome


@dataclass
class Diary:
    """Lines by node, and the last step of every name that a running node has logged."""

    _lines: dict[str, list[str]] = field(default_factory=dict)
    _last: dict[str, dict[str, int]] = field(default_factory=dict)
    _told: dict[str, dict[str, int]] = field(default_factory=dict)  # by node that began again, what was told before

    def started(self, event: NodeStarted) -> None:
        """A node began; if not for the first time, it comes by steps that it has logged before."""
        again = event.key in self._lines
        self._add(event.key, event.time, f"started{' again' if again else ''} by {event.worker}")
        if event.key in self._last:
            self._told[event.key] = dict(self._last[event.key])

    def fresh(self, event: NodeLogged) -> dict[str, float]:
        """The values of an event that were not told before the node began again."""
        told = self._told.get(event.key, {})
        last = self._last.setdefault(event.key, {})
        values = {name: float(value) for name, value in event.values.items() if event.step > told.get(name, -1)}
        last.update(dict.fromkeys(values, event.step))
        return values

    def ended(self, event: NodeDone | NodeFailed | NodeSkipped) -> None:
        """A node ended."""
        last = self._last.pop(event.key, {})
        self._told.pop(event.key, None)
        if isinstance(event, NodeSkipped):
            return self._add(event.key, event.time, f"skipped: {event.because} failed")
        if last:
            self._add(event.key, event.time, f"logged {', '.join(sorted(last))} up to step {max(last.values())}")
        if isinstance(event, NodeFailed):
            trace = event.failure.traceback.rstrip()
            self._add(event.key, event.time, f"failed: {event.failure.error}" + (f"\n{trace}" if trace else ""))

    def text(self, nodes: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> str:
        """The log of a run: of its nodes by label, in order."""
        parts = []
        for label, key in nodes.items():
            lines = [*self._lines.get(key, [])]
            if key in outcomes:
                lines += _of_outcome(outcomes[key])
            parts += [f"{label} ({key})", *(f"  {line}" for line in lines)] if lines else []
        return "\n".join([*parts, ""]) if parts else ""

    def _add(self, key: str, time: float, text: str) -> None:
        self._lines.setdefault(key, []).append(f"{_clock(time)} {text}")


def _of_outcome(outcome: Outcome) -> list[str]:
    meta = outcome.meta
    lines = []
    if meta.get("resumed_at") is not None:
        lines.append(f"went on from a checkpoint after {meta['resumed_at']} rows of its history")
    if meta.get("checkpoint"):
        lines.append(f"its checkpoint: {meta['checkpoint']}")
    array = f", in an array of {meta['array']}" if meta.get("array") else ""
    where = " ".join(str(meta[name]) for name in ("host", "device", "gpu") if meta.get(name))
    end = float(meta.get("finished") or 0.0)
    lines.append(f"{_clock(end)} {outcome.status} after {outcome.seconds:.3g} s on {where or '?'}{array}")
    metrics = ", ".join(f"{name}={value:.6g}" for name, value in sorted(outcome.metrics.items()))
    return [*lines, metrics] if metrics else lines


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
