"""Events -> what MLflow shall show: one run per trial, one per node that several use, one above them per `sweep run`.

Operations are plain JSON values, each named by its `op`:

    open       experiment, uri                              the first of a file
    run        key, name, time, parent, tags, params, datasets        begin a run, or go on with the one of that key
    log        key, metrics: [name, value, time, step]
    tag        key, tags
    link       key, tag, title, to: [[key, name]]           the ids of other runs as a tag, and as links in the notes
    artifacts  key, files: {name: path}, texts: {name: text}, curves: {stage: path}
    end        key, status, time, what                      FINISHED, FAILED or KILLED; what a finished one has

A driver that ends in order ends all its runs; the runs that a killed one left open are ended for it.
Keys are ours: a trial's or node's key. Times are in milliseconds, as MLflow wants them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.planning.adaptive import Seeds
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
from orchestrator.storage import kept
from orchestrator.store import Outcome, Store
from orchestrator.to_mlflow.description import Descriptions
from orchestrator.to_mlflow.diary import Diary
from orchestrator.to_mlflow.naming import MAX_TAG, finished_with, milliseconds, mlflow_name, trial_metrics
from orchestrator.to_mlflow.spool import Exhibited, Operation

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial

DONE = "done"  # what a finished node has
FEW = 50  # a node that at most so many trials use is linked to each as it ends, else to all of them at the end


@dataclass
class Runs:
    """Turns a driver's events into operations, in order. Says nothing until there is something to show.

    Args:
        done: The outcomes the store had at the start.
        recorded: By key, with what MLflow has a run as finished (`Ledger.ended`).
        time: Now, unix seconds.
    """

    describe: Descriptions
    store: Store
    done: Mapping[str, Outcome]
    recorded: Mapping[str, str]
    time: float

    _outcomes: dict[str, Outcome] = field(default_factory=dict, init=False)
    _failed: dict[str, str] = field(default_factory=dict, init=False)  # node key -> why
    _left: list[int] = field(default_factory=list, init=False)  # per trial, targets that are neither done nor failed
    _wanted: set[int] = field(default_factory=set, init=False)  # the trials that are part of the sweep so far
    _open: dict[str, None] = field(default_factory=dict, init=False)  # keys of runs that were begun and not ended
    _shown: set[str] = field(default_factory=set, init=False)  # shared nodes whose runs were begun
    _linked: dict[str, None] = field(default_factory=dict, init=False)  # shared nodes that trials were linked to
    _diary: Diary = field(default_factory=Diary, init=False)
    _began: bool = field(default=False, init=False)
    _any_failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._outcomes = {key: self.done[key] for key in self.plan.nodes if key in self.done}
        self._left = [self._count_left(index) for index in range(len(self.plan.trials))]
        self._wanted = Seeds(self.plan, self._outcomes).wanted

    @property
    def plan(self) -> Plan:
        return self.describe.plan

    @property
    def parent(self) -> str:
        return self.describe.parent

    @cached_property
    def _targets(self) -> list[frozenset[str]]:
        return [frozenset(trial.nodes[name] for name in trial.targets) for trial in self.plan.trials]

    def _count_left(self, index: int) -> int:
        return sum(not self._is_closed(key) for key in self._targets[index])

    @property
    def complete(self) -> bool:
        """Whether MLflow has all trials and nothing will come."""
        trials = (self.plan.trials[index] for index in self._wanted)
        return all(self._is_recorded(trial) for trial in trials) and not any(self._unrecorded(self._wanted))

    def _is_recorded(self, trial: PlannedTrial) -> bool:
        return self.recorded.get(trial.key) == finished_with(trial)

    def _has_run(self, key: str) -> bool:
        """Whether several trials use the node; one of many measures has a run of its own only if it said something."""
        outcome = self._outcomes.get(key)
        logged = key in self._shown or (outcome is not None and kept.HISTORY in outcome.files)
        return self.describe.is_shared(key) and (self.plan.nodes[key].part is None or logged)

    def _unrecorded(self, trials: Iterable[int]) -> Iterator[str]:
        """The finished nodes that several trials use and MLflow does not have as finished."""
        keys = dict.fromkeys(key for index in sorted(trials) for key in self.plan.trials[index].nodes.values())
        for key in keys:
            if key in self._outcomes and self._has_run(key) and self.recorded.get(key) != DONE:
                yield key

    def begin(self) -> Iterator[Operation]:
        """What needs nothing more, unless MLflow has it."""
        yield from self._finished_before(sorted(self._wanted))

    def _finished_before(self, trials: Iterable[int]) -> Iterator[Operation]:
        trials = [*trials]
        for key in [*self._unrecorded(trials)]:
            outcome = self._outcomes[key]
            yield from self._begin_shared(key, kept.started(outcome, self.time))
            yield from self._curves(key, key, self.plan.nodes[key].label)
            yield from self._end_shared(NodeDone(key, outcome, kept.finished(outcome, self.time)))
        for index in trials:
            if self._left[index] == 0 and not self._is_recorded(self.plan.trials[index]):
                outcomes = [self._outcomes[key] for key in self._targets[index] if key in self._outcomes]
                ended = [kept.finished(outcome, self.time) for outcome in outcomes]
                yield from self._end_trial(index, max(ended, default=self.time))

    def take(self, event: Event) -> Iterator[Operation]:
        """What an event changes."""
        if isinstance(event, NodeLogged | NodeSampled):
            yield from self._log(event)
        elif isinstance(event, TrialsAdded):
            self._wanted.update(event.trials)
            yield from self._finished_before(event.trials)
        elif isinstance(event, InputDamaged):
            self._compute_again(event.nodes)
        elif isinstance(event, NodeStarted):
            self._diary.started(event)
            users = self.plan.uses(event.key)
            if self._has_run(event.key):
                yield from self._begin_shared(event.key, event.time)
            elif len(users) == 1 and self._left[users[0]]:
                yield from self._begin_trial(users[0], event.time)
        elif isinstance(event, NodeDone | NodeFailed | NodeSkipped) and not self._is_closed(event.key):
            yield from self._close_node(event)

    def _is_closed(self, key: str) -> bool:
        return key in self._outcomes or key in self._failed

    def _compute_again(self, keys: Collection[str]) -> None:
        """What was finished is not any more; the runs are taken up again when the nodes begin."""
        for key in keys:
            self._outcomes.pop(key, None)
        for index in {index for key in keys for index in self.plan.uses(key)}:
            self._left[index] = self._count_left(index)

    def end(self, time: float, exhibits: Exhibited | None = None) -> Iterator[Operation]:
        """Nothing more will come: what is still open was cut off. `exhibits` makes what the run above shows."""
        for key in [key for key in self._open if key != self.parent]:
            yield self._end(key, "KILLED", time)
        for key in self._linked:
            yield self.describe.used_by(key)
        if self._began:
            if exhibits:
                yield {"op": "artifacts", "key": self.parent, **exhibits()}
            missing = any(self._left[index] > 0 for index in self._wanted)
            yield self._end(self.parent, "KILLED" if missing else "FAILED" if self._any_failed else "FINISHED", time)

    def _close_node(self, event: NodeDone | NodeFailed | NodeSkipped) -> Iterator[Operation]:
        key = event.key
        self._diary.ended(event)
        if isinstance(event, NodeDone):
            self._outcomes[key] = event.outcome
        elif isinstance(event, NodeFailed):
            self._failed[key] = f"{self.plan.nodes[key].label}: {event.failure.error}"
        else:
            self._failed[key] = self._failed.get(event.because, f"{event.because} failed")
        if self._has_run(key) and (key in self._open or not isinstance(event, NodeSkipped)):
            yield from self._begin_shared(key, event.time)
            yield from self._end_shared(event)
        for index in self.plan.uses(key):
            if key in self._targets[index]:
                self._left[index] -= 1
                if self._left[index] == 0 and index in self._wanted:
                    yield from self._end_trial(index, event.time)

    def _log(self, event: NodeLogged | NodeSampled) -> Iterator[Operation]:
        users = self.plan.uses(event.key)
        if len(users) == 1:
            trial = self.plan.trials[users[0]]
            label = self.plan.nodes[event.key].label  # where only a gathering stage of the trial reaches the node
            stage = next((name for name, key in trial.nodes.items() if key == event.key), label)
            run = trial.key
            if self._left[users[0]]:
                yield from self._begin_trial(users[0], event.time)
        else:
            stage, run = self.plan.nodes[event.key].label, event.key
            yield from self._begin_shared(event.key, event.time)
        time = milliseconds(event.time)
        if isinstance(event, NodeSampled):
            metrics = [[f"system/{name}", float(value), time, event.step] for name, value in event.values.items()]
        else:
            fresh = self._diary.fresh(event)
            metrics = [[mlflow_name(f"{stage}/{name}"), value, time, event.step] for name, value in fresh.items()]
        if metrics:
            yield {"op": "log", "key": run, "metrics": metrics}

    def _begin_above(self) -> Iterator[Operation]:
        if not self._began:
            self._began = True
            yield self._run(self.describe.above(self.time))

    def _begin_trial(self, index: int, time: float) -> Iterator[Operation]:
        trial = self.plan.trials[index]
        if trial.key in self._open:
            return
        yield from self._begin_above()
        yield self._run(self.describe.trial(index, time))
        if trial.key not in self.recorded:  # else MLflow has the curves of what was finished then
            for label, key in trial.nodes.items():
                if key in self.done and not self.describe.is_shared(key):
                    yield from self._curves(trial.key, key, label)

    def _begin_shared(self, key: str, time: float) -> Iterator[Operation]:
        if key not in self._open:
            self._shown.add(key)
            yield from self._begin_above()
            yield self._run(self.describe.shared(key, time))

    def _run(self, operation: Operation) -> Operation:
        self._open[operation["key"]] = None
        return operation

    def _curves(self, run: str, key: str, stage: str) -> Iterator[Operation]:
        for metrics in kept.curves(self.store, self._outcomes[key], stage):
            yield {"op": "log", "key": run, "metrics": metrics}

    def _end_shared(self, event: NodeDone | NodeFailed | NodeSkipped) -> Iterator[Operation]:
        key, label = event.key, self.plan.nodes[event.key].label
        yield from self._artifacts(key, {label: key})
        if isinstance(event, NodeDone):
            metrics = {name: (value, event.outcome) for name, value in event.outcome.metrics.items()}
            yield {"op": "tag", "key": key, "tags": kept.where([event.outcome])}
            yield {"op": "log", "key": key, "metrics": kept.finals(metrics, event.time)}
            yield {**self._end(key, "FINISHED", event.time), "what": DONE}
        else:
            yield {"op": "tag", "key": key, "tags": {"error": self._failed[key][:MAX_TAG]}}
            yield self._end(key, "FAILED", event.time)

    def _end_trial(self, index: int, time: float) -> Iterator[Operation]:
        trial = self.plan.trials[index]
        yield from self._begin_trial(index, time)
        outcomes = {name: self._outcomes[key] for name, key in trial.nodes.items() if key in self._outcomes}
        yield {"op": "log", "key": trial.key, "metrics": kept.finals(trial_metrics(trial, self._outcomes), time)}
        yield {"op": "tag", "key": trial.key, "tags": kept.where(outcomes.values())}
        yield from self._links(trial)
        yield from self._artifacts(trial.key, trial.nodes)
        why = next((self._failed[key] for key in trial.nodes.values() if key in self._failed), None)
        self._any_failed = self._any_failed or why is not None
        if why is not None:
            yield {"op": "tag", "key": trial.key, "tags": {"sweep.status": "failed", "error": why[:MAX_TAG]}}
            yield self._end(trial.key, "FAILED", time)
            return
        status = "diverged" if any(outcome.status == "diverged" for outcome in outcomes.values()) else "done"
        yield {"op": "tag", "key": trial.key, "tags": {"sweep.status": status}}
        yield {**self._end(trial.key, "FINISHED", time), "what": finished_with(trial)}

    def _links(self, trial: PlannedTrial) -> Iterator[Operation]:
        """The trial and the runs of the nodes that it shares point at each other."""
        shared = {label: key for label, key in trial.nodes.items() if self._has_run(key)}
        names = [[key, self.describe.shared_name(key)] for key in shared.values()]
        if shared:
            yield {"op": "link", "key": trial.key, "tag": "shared.runs", "title": "Shared with others", "to": names}
        for key in shared.values():
            self._linked[key] = None
            if len(self.plan.uses(key)) <= FEW:
                yield self.describe.used_by(key)

    def _artifacts(self, run: str, nodes: Mapping[str, str]) -> Iterator[Operation]:
        """The configs, the arrays, what was logged as an artifact, plots of curves, the log; not what is another's."""
        own = {label: key for label, key in nodes.items() if key == run or not self._has_run(key)}
        found = {label: self._outcomes[key] for label, key in own.items() if key in self._outcomes}
        texts = {"config.json": self.describe.configs(nodes)}
        if log := self._diary.text(own, self._outcomes):
            texts["log.txt"] = log
        yield {"op": "artifacts", "key": run, "texts": texts, **kept.artifacts(self.store, found)}

    def _end(self, key: str, status: str, time: float) -> Operation:
        self._open.pop(key, None)
        return {"op": "end", "key": key, "status": status, "time": milliseconds(time)}
