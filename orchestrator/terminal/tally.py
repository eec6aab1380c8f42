"""How far a run is, counted from its events; what the progress view shows, without how it looks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.findings.levels import level_text, short_names
from orchestrator.running.events import (
    Event,
    InputDamaged,
    NodeDone,
    NodeFailed,
    NodeLogged,
    NodeSampled,
    NodeSkipped,
    NodeStarted,
    TrialsAdded,
)
from orchestrator.to_mlflow.naming import common_levels

if TYPE_CHECKING:
    from orchestrator.plan import Plan


@dataclass
class Running:
    """A node that runs now, with the latest values it logged.

    Attributes:
        label: Its name and the levels that all trials with it have.
        levels: The latter as texts, by short name.
        worker: Who runs it; what one worker runs at a time is an array. "" where nobody said.
    """

    name: str
    levels: Mapping[str, str]
    stage: str
    since: float
    worker: str = ""
    step: int | None = None
    values: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return described(self.name, self.levels)


def described(name: str, levels: Mapping[str, str]) -> str:
    """Example:
    >>> described("fit", {"lr": "0.1", "seed": "3"})
    'fit lr=0.1 seed=3'
    """
    return " ".join([name, *(f"{level}={text}" for level, text in levels.items())])


@dataclass
class Durations:
    """Wall seconds of the finished nodes of one stage."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, seconds: float) -> None:
        self.count, self.total, self.squares = self.count + 1, self.total + seconds, self.squares + seconds**2

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        return max(self.squares / self.count - self.mean**2, 0.0) if self.count else 0.0


@dataclass(frozen=True)
class Left:
    """Seconds until the end, their standard deviation (None: unknown), and whether a stage has no figure yet."""

    seconds: float
    spread: float | None
    at_least: bool


class Tally:
    """The state of one run of a plan.

    Args:
        needed: The nodes that this run sets out to compute (`needs.needed`).
        time: When it began, unix seconds.
        wanted: The trials that adaptive seeds ask for so far; None for all of the plan.

    Attributes:
        spent: Seconds of work of the nodes that this run computed, on "cpu" and on "gpu".
        busy: The latest samples of the machine's GPUs, by name.
        expected: What a forecast makes of the whole run; shown until the first node has ended.
    """

    def __init__(self, plan: Plan, needed: Iterable[str], time: float, wanted: Collection[int] | None = None) -> None:
        self.plan, self.started = plan, time
        self.needed = frozenset(needed)
        self.running: dict[str, Running] = {}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.executed = 0
        self.busy: dict[str, float] = {}
        self.spent = {"cpu": 0.0, "gpu": 0.0}
        self.last_error: str | None = None
        self.expected: Left | None = None
        self._targets = [frozenset(trial.nodes[name] for name in trial.targets) for trial in plan.trials]
        self._left = [len(targets & self.needed) for targets in self._targets]
        self._wanted = set(range(len(plan.trials)) if wanted is None else wanted)
        self.trials_done = sum(self._left[index] == 0 for index in self._wanted)
        self._durations: dict[str, Durations] = defaultdict(Durations)
        self._stages_left: dict[str, int] = defaultdict(int)
        for key in self.needed:
            self._stages_left[plan.nodes[key].stage] += 1
        self._short: Mapping[str, str] = short_names(plan.trials[0].trial.levels) if plan.trials else {}

    @property
    def trials(self) -> int:
        """How many are wanted."""
        return len(self._wanted)

    @property
    def waiting(self) -> int:
        return len(self.needed) - len(self.done) - len(self.running) - len(self.failed) - len(self.skipped)

    @property
    def reused(self) -> int:
        """Nodes of the plan that were there when it began, or that nothing needs."""
        return len(self.plan.nodes) - len(self.needed)

    def take(self, event: Event) -> None:
        """Count an event in."""
        if isinstance(event, NodeStarted):
            self.running[event.key] = self._begin(event.key, event.time, event.worker)
        elif isinstance(event, NodeLogged):
            running = self.running.get(event.key) or self._begin(event.key, event.time)
            self.running[event.key] = running
            running.step = event.step
            running.values.update(event.values)
        elif isinstance(event, NodeSampled):
            self.busy |= {name: value for name, value in event.values.items() if "gpu_" in name}
        elif isinstance(event, TrialsAdded):
            self._add(event)
        elif isinstance(event, InputDamaged):
            self._compute_again(event)
        elif isinstance(event, NodeDone | NodeFailed | NodeSkipped):
            self._close(event)

    def _add(self, event: TrialsAdded) -> None:
        """Adaptive seeds: more trials, and the nodes that they lack."""
        self.needed |= event.nodes
        self._wanted.update(event.trials)
        for key in event.nodes:
            self._stages_left[self.plan.nodes[key].stage] += 1
        for index in event.trials:
            self._left[index] = len(self._targets[index] & (self.needed - self.done))
            self.trials_done += self._left[index] == 0

    def _compute_again(self, event: InputDamaged) -> None:
        """A node waits again, for others that were done."""
        self.running.pop(event.key, None)
        self.needed |= event.nodes
        self.done -= event.nodes
        for key in event.nodes:
            self._stages_left[self.plan.nodes[key].stage] += 1
        for index in {index for key in event.nodes for index in self.plan.uses(key)}:
            were = self._left[index]
            self._left[index] = len(self._targets[index] & (self.needed - self.done))
            self.trials_done += ((self._left[index] == 0) - (were == 0)) * (index in self._wanted)

    def _close(self, event: NodeDone | NodeFailed | NodeSkipped) -> None:
        key = event.key
        was_running = self.running.pop(key, None)
        if key in self.done or key in self.failed or key in self.skipped or key not in self.needed:
            return
        stage = self.plan.nodes[key].stage
        self._stages_left[stage] -= 1
        if isinstance(event, NodeDone):
            self.done.add(key)
            if was_running is not None:  # else another driver computed it
                self.executed += 1
                self._durations[stage].add(event.outcome.seconds)
                kind = "gpu" if str(event.outcome.meta.get("device", "cpu")).startswith("cuda") else "cpu"
                self.spent[kind] += event.outcome.seconds
            self._close_trials(key)
        elif isinstance(event, NodeFailed):
            self.failed[key] = event.failure.error
            self.last_error = f"{self.label(key)}: {event.failure.error}"
        else:
            self.skipped.add(key)

    def _close_trials(self, key: str) -> None:
        for index in self.plan.uses(key):
            if key in self._targets[index]:
                self._left[index] -= 1
                self.trials_done += self._left[index] == 0 and index in self._wanted

    def label(self, key: str) -> str:
        """The stage and the levels that all trials with this node have in common."""
        return described(self.plan.nodes[key].label, self._levels(key))

    def _levels(self, key: str) -> dict[str, str]:
        levels = common_levels([self.plan.trials[index] for index in self.plan.uses(key)])
        return {self._short.get(name, name): level_text(label) for name, label in levels.items()}

    def _begin(self, key: str, time: float, worker: str = "") -> Running:
        node = self.plan.nodes[key]
        return Running(node.label, self._levels(key), node.stage, time, worker)

    @property
    def arrays(self) -> list[list[Running]]:
        """The nodes that run, those together that one worker runs at a time."""
        found: dict[str, list[Running]] = {}
        for key, running in self.running.items():
            found.setdefault(running.worker or key, []).append(running)
        return [*found.values()]

    def rate(self, now: float) -> float:
        """Nodes per second so far."""
        return self.executed / max(now - self.started, 1e-9)

    def left(self, now: float) -> Left | None:
        """From the finished nodes of the same stages: as much work as is left, at the pace of the work that is done."""
        finished = sum(stage.total for stage in self._durations.values())
        if not self.executed or finished <= 0:
            if self.expected is None or now - self.started >= self.expected.seconds:  # it has proved wrong
                return None
            return replace(self.expected, seconds=self.expected.seconds - (now - self.started))
        work = variance = 0.0
        unknown = False
        spread_known = True
        for stage, count in self._stages_left.items():
            durations = self._durations[stage]
            unknown = unknown or (count > 0 and not durations.count)
            spread_known = spread_known and (count == 0 or durations.count > 1)
            work += count * durations.mean
            # Of the sum of what is left, and of the mean that it is judged by.
            variance += count * durations.variance * (1 + count / max(durations.count, 1))
        for running in self.running.values():
            work -= min(now - running.since, self._durations[running.stage].mean)
        pace = (now - self.started) / finished
        spread = math.sqrt(variance) * pace if spread_known else None
        return Left(max(work, 0.0) * pace, spread, unknown)
