"""Events -> what MLflow shall show: one run per trial, one per shared node that logs, one above them per `sweep run`.

Operations are plain JSON values, each named by its `op`:

    open    experiment, uri                                 the first of a file
    run     key, name, time, parent, tags, params           begin a run, or go on with the one of that key
    log     key, metrics: [name, value, time, step]
    tag     key, tags
    end     key, status, time, what                         FINISHED, FAILED or KILLED; what a finished one has

A driver that ends in order ends all its runs; the runs that a killed one left open are ended for it.
Keys are ours: a trial's or node's key. Times are in milliseconds, as MLflow wants them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.adaptive import Seeds
from orchestrator.events import Event, NodeDone, NodeFailed, NodeLogged, NodeSkipped, NodeStarted, TrialsAdded
from orchestrator.levels import level_text, short_names
from orchestrator.naming import MAX_PARAM, MAX_TAG, common_levels, finished_with, flattened, mlflow_name
from orchestrator.spool import Operation
from orchestrator.store import Outcome

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial


def _milliseconds(time: float) -> int:
    return round(time * 1000)


def _finished(outcome: Outcome, default: float) -> float:
    time = outcome.meta.get("finished")
    return float(time) if isinstance(time, int | float) else default


@dataclass
class Runs:
    """Turns a driver's events into operations, in order. Says nothing until there is something to show.

    Args:
        done: The outcomes the store had at the start.
        recorded: By trial key, with what MLflow has it as finished (`Ledger.ended`).
        tags: What all runs carry: store, commit.
        versions: What the run above them also carries.
        time: Now, unix seconds.
    """

    plan: Plan
    done: Mapping[str, Outcome]
    recorded: Mapping[str, str]
    tags: Mapping[str, str]
    versions: Mapping[str, str]
    time: float

    _outcomes: dict[str, Outcome] = field(default_factory=dict, init=False)
    _failed: dict[str, str] = field(default_factory=dict, init=False)  # node key -> why
    _left: list[int] = field(default_factory=list, init=False)  # per trial, targets that are neither done nor failed
    _wanted: set[int] = field(default_factory=set, init=False)  # the trials that are part of the sweep so far
    _open: dict[str, None] = field(default_factory=dict, init=False)  # keys of runs that were begun and not ended
    _began: bool = field(default=False, init=False)
    _any_failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._outcomes = {key: self.done[key] for key in self.plan.nodes if key in self.done}
        self._left = [len(targets - self._outcomes.keys()) for targets in self._targets]
        self._wanted = Seeds(self.plan, self._outcomes).wanted

    @cached_property
    def _targets(self) -> list[frozenset[str]]:
        return [frozenset(trial.nodes[name] for name in trial.targets) for trial in self.plan.trials]

    @cached_property
    def _short(self) -> Mapping[str, str]:
        return short_names(self.plan.trials[0].trial.levels) if self.plan.trials else {}

    @cached_property
    def parent(self) -> str:
        """The key of the run above the others."""
        return f"sweep-run-{_milliseconds(self.time)}-{os.getpid()}"

    @property
    def complete(self) -> bool:
        """Whether MLflow has all trials and nothing will come."""
        return all(self._is_recorded(self.plan.trials[index]) for index in self._wanted)

    def _is_recorded(self, trial: PlannedTrial) -> bool:
        return self.recorded.get(trial.key) == finished_with(trial)

    def begin(self) -> Iterator[Operation]:
        """The trials that need nothing more, unless MLflow has them."""
        yield from self._finished_before(sorted(self._wanted))

    def _finished_before(self, trials: Iterable[int]) -> Iterator[Operation]:
        for index in trials:
            if self._left[index] == 0 and not self._is_recorded(self.plan.trials[index]):
                outcomes = [self._outcomes[key] for key in self._targets[index] if key in self._outcomes]
                yield from self._end_trial(index, max((_finished(it, self.time) for it in outcomes), default=self.time))

    def take(self, event: Event) -> Iterator[Operation]:
        """What an event changes."""
        if isinstance(event, NodeLogged):
            yield from self._log(event)
        elif isinstance(event, TrialsAdded):
            self._wanted.update(event.trials)
            yield from self._finished_before(event.trials)
        elif isinstance(event, NodeStarted):
            users = self.plan.uses(event.key)
            if len(users) == 1 and self._left[users[0]]:
                yield from self._begin_trial(users[0], event.time)
        elif event.key not in self._outcomes and event.key not in self._failed:
            yield from self._close_node(event)

    def end(self, time: float) -> Iterator[Operation]:
        """Nothing more will come: what is still open was cut off."""
        cut = [key for key in self._open if key != self.parent]
        for key in cut:
            yield self._end(key, "KILLED", time)
        if self._began:
            missing = any(self._left[index] > 0 for index in self._wanted)
            yield self._end(self.parent, "KILLED" if missing else "FAILED" if self._any_failed else "FINISHED", time)

    def _close_node(self, event: NodeDone | NodeFailed | NodeSkipped) -> Iterator[Operation]:
        key = event.key
        if isinstance(event, NodeDone):
            self._outcomes[key] = event.outcome
        elif isinstance(event, NodeFailed):
            self._failed[key] = f"{self.plan.nodes[key].label}: {event.failure.error}"
        else:
            self._failed[key] = self._failed.get(event.because, f"{event.because} failed")
        if key in self._open:
            yield from self._end_shared(event)
        for index in self.plan.uses(key):
            if key in self._targets[index]:
                self._left[index] -= 1
                if self._left[index] == 0 and index in self._wanted:
                    yield from self._end_trial(index, event.time)

    def _log(self, event: NodeLogged) -> Iterator[Operation]:
        users = self.plan.uses(event.key)
        node = self.plan.nodes[event.key]
        if len(users) == 1:
            trial = self.plan.trials[users[0]]
            stage = next(name for name, key in trial.nodes.items() if key == event.key)
            run = trial.key
            if self._left[users[0]]:
                yield from self._begin_trial(users[0], event.time)
        else:
            stage, run = node.label, event.key
            yield from self._begin_shared(event.key, event.time)
        time = _milliseconds(event.time)
        values = event.values.items()
        metrics = [[mlflow_name(f"{stage}/{name}"), float(value), time, event.step] for name, value in values]
        yield {"op": "log", "key": run, "metrics": metrics}

    def _begin_above(self) -> Iterator[Operation]:
        if not self._began:
            self._began = True
            name = self.plan.spec.record_name
            tags = {"sweep.name": name, "sweep.trials": str(len(self.plan.trials)), **self.versions}
            yield self._run(self.parent, name, self.time, tags, {}, None)

    def _begin_trial(self, index: int, time: float) -> Iterator[Operation]:
        trial = self.plan.trials[index]
        if trial.key in self._open:
            return
        yield from self._begin_above()
        levels = trial.trial.levels
        group = " ".join(f"{self._short[name]}={level_text(levels[name])}" for name in levels if name != "seed")
        tags = {"group": group, "sweep.group": group}
        for stage, key in trial.nodes.items():
            tags[f"node.{stage}"] = key
            if len(self.plan.uses(key)) > 1:
                tags[f"shared.{stage}"] = key
        yield self._run(trial.key, trial.trial.label or trial.key, time, tags, self._params(trial), self.parent)

    def _params(self, trial: PlannedTrial) -> dict[str, str]:
        """The levels, then the configs of the stages; of a stage in parts what the parts agree on, and their names."""
        params = {name: level_text(label) for name, label in trial.trial.levels.items()}
        parts: dict[str, list[str]] = {}
        for label in trial.nodes:
            stage, _, part = label.partition(".")
            parts.setdefault(stage, []).extend([part] if part else [])
        for stage, names in parts.items():
            configs = [
                self._flattened(trial.nodes[f"{stage}.{name}" if name else stage], stage) for name in names or [""]
            ]
            common = {path: text for path, text in configs[0].items() if all(c.get(path) == text for c in configs)}
            if names:
                common[f"{stage}.parts"] = ", ".join(names)
            params = {**common, **params}
        return {mlflow_name(name): text[:MAX_PARAM] for name, text in params.items() if text}

    def _flattened(self, key: str, stage: str) -> dict[str, str]:
        if (key, stage) not in self._configs:
            self._configs[key, stage] = flattened(self.plan.nodes[key].config, stage)
        return self._configs[key, stage]

    @cached_property
    def _configs(self) -> dict[tuple[str, str], dict[str, str]]:
        return {}

    def _begin_shared(self, key: str, time: float) -> Iterator[Operation]:
        if key in self._open:
            return
        yield from self._begin_above()
        node, users = self.plan.nodes[key], self.plan.uses(key)
        levels = common_levels([self.plan.trials[index] for index in users])
        name = " ".join([node.label, *(f"{self._short[axis]}={level_text(label)}" for axis, label in levels.items())])
        tags = {"shared": "true", "used_by": str(len(users)), "sweep.stage": node.label}
        params = {axis: level_text(label) for axis, label in levels.items()}
        params = {**self._flattened(key, node.stage), **params}
        params = {mlflow_name(path): text[:MAX_PARAM] for path, text in params.items() if text}
        yield self._run(key, name, time, tags, params, self.parent)

    def _run(
        self, key: str, name: str, time: float, tags: Mapping[str, str], params: Mapping[str, str], parent: str | None
    ) -> Operation:
        self._open[key] = None
        tags = {name: text[:MAX_TAG] for name, text in {"sweep.key": key, **tags, **self.tags}.items()}
        operation = {"op": "run", "key": key, "name": name, "time": _milliseconds(time), "tags": tags}
        return operation | {"params": dict(params), "parent": parent}

    def _end_shared(self, event: NodeDone | NodeFailed | NodeSkipped) -> Iterator[Operation]:
        if isinstance(event, NodeDone):
            metrics = {name: (value, event.outcome) for name, value in event.outcome.metrics.items()}
            yield self._finals(event.key, metrics, event.time)
            yield self._end(event.key, "FINISHED", event.time)
        else:
            yield {"op": "tag", "key": event.key, "tags": {"error": self._failed[event.key][:MAX_TAG]}}
            yield self._end(event.key, "FAILED", event.time)

    def _end_trial(self, index: int, time: float) -> Iterator[Operation]:
        trial = self.plan.trials[index]
        yield from self._begin_trial(index, time)
        yield self._finals(trial.key, self._metrics(trial), time)
        why = next((self._failed[key] for key in trial.nodes.values() if key in self._failed), None)
        self._any_failed = self._any_failed or why is not None
        ended = {self._outcomes[key].status for key in trial.nodes.values() if key in self._outcomes}
        if why is not None:
            yield {"op": "tag", "key": trial.key, "tags": {"sweep.status": "failed", "error": why[:MAX_TAG]}}
            yield self._end(trial.key, "FAILED", time)
            return
        if "diverged" in ended:
            yield {"op": "tag", "key": trial.key, "tags": {"sweep.status": "diverged"}}
        yield {**self._end(trial.key, "FINISHED", time), "what": finished_with(trial)}

    def _metrics(self, trial: PlannedTrial) -> dict[str, tuple[float, Outcome]]:
        """The targets' metrics; a name that two report is preceded by what tells them apart, as in the records."""
        reported = [
            (target, name, value, outcome)
            for target in trial.targets
            if (outcome := self._outcomes.get(trial.nodes[target])) is not None
            for name, value in outcome.metrics.items()
        ]
        by_name = Counter(name for _, name, _, _ in reported)
        by_stage = Counter((target.partition(".")[0], name) for target, name, _, _ in reported)
        found: dict[str, tuple[float, Outcome]] = {}
        for target, name, value, outcome in reported:
            stage = target.partition(".")[0]
            prefix = "" if by_name[name] == 1 else f"{stage if by_stage[stage, name] == 1 else target}."
            found[f"{prefix}{name}"] = value, outcome
        return found

    def _finals(self, key: str, metrics: Mapping[str, tuple[float, Outcome]], time: float) -> Operation:
        # At the time the node finished, not now: said again by a later run, it is the same point.
        rows = [
            [mlflow_name(name), float(value), _milliseconds(_finished(outcome, time)), 0]
            for name, (value, outcome) in metrics.items()
        ]
        return {"op": "log", "key": key, "metrics": rows}

    def _end(self, key: str, status: str, time: float) -> Operation:
        self._open.pop(key, None)
        return {"op": "end", "key": key, "status": status, "time": _milliseconds(time)}
