"""Adaptive seeds: how many seeds each combination of levels needs, decided on complete prefixes of its seeds.

`seed: {until: {metric: M, standard_error: X}, at_least: A, at_most: B}`: a combination has the seeds 0 .. k-1 for the
smallest k in A .. B for which all k trials have ended and the standard error of M over them is at most X; B where there
is none; A where trials among the first A are done and none of them reports an M, as where it is misspelt. Only ended
prefixes are looked at, so the order in which trials finish changes nothing; what follows from the outcomes follows
again when a sweep goes on.

The standard error is that of the sample over the finite values of trials that did not diverge or fail. To stop when
it is small favours small samples that agree by chance: an interval over such seeds is not quite a 95 % interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.findings import statistics
from orchestrator.sweepfile.axes import SEED, Until

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial
    from orchestrator.spec import SweepSpec
    from orchestrator.store import Outcome
    from orchestrator.sweepfile.problems import Problems


@dataclass(frozen=True)
class Prefix:
    """The seeds that a combination has: the first `count`, and why no more."""

    count: int
    why: str


@dataclass
class Seeds:
    """Which trials of a plan are wanted so far; all of them where the seeds are not adaptive.

    Args:
        outcomes: What is finished; looked at again whenever a node ends.
        ended: The nodes that have failed or cannot run, likewise.

    Attributes:
        wanted: The indices of the trials that are part of the sweep as far as the outcomes tell.
    """

    plan: Plan
    outcomes: Mapping[str, Outcome]
    ended: Collection[str] = frozenset()
    wanted: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._until = until(self.plan)
        self._members: dict[str, list[int]] = defaultdict(list)
        self._combination: dict[int, str] = {}
        if self._until is None:
            self.wanted = set(range(len(self.plan.trials)))
            return
        for index, trial in enumerate(self.plan.trials):
            self._combination[index] = combination(trial)
            self._members[self._combination[index]].append(index)
        for members in self._members.values():
            members.sort(key=lambda index: int(str(self.plan.trials[index].trial.levels[SEED])))
            self._extend(members)

    def plan_of_wanted(self) -> Plan:
        """The plan without the trials that are not wanted, and without what only they need."""
        if self._until is None:
            return self.plan
        trials = tuple(trial for index, trial in enumerate(self.plan.trials) if index in self.wanted)
        left = [key for trial in trials for key in trial.nodes.values()]
        used: set[str] = set()
        while left:
            key = left.pop()
            if key not in used:
                used.add(key)
                left += [ref.key for ref in self.plan.nodes[key].inputs.values()]
        nodes = {key: node for key, node in self.plan.nodes.items() if key in used}
        return replace(self.plan, trials=trials, nodes=nodes)

    def prefixes(self) -> list[Prefix]:
        """For each wanted trial the prefix of its combination; empty where the seeds are not adaptive."""
        if self._until is None:
            return []
        known = {name: self._prefix_of(members) for name, members in self._members.items()}
        return [known[self._combination[index]] for index in sorted(self.wanted)]

    def after(self, key: str) -> list[int]:
        """The trials that are wanted in addition now that the node `key` has ended, in plan order."""
        if self._until is None:
            return []
        touched = {self._combination[index] for index in self.plan.uses(key) if index in self.wanted}
        return sorted(index for name in touched for index in self._extend(self._members[name]))

    def _extend(self, members: list[int]) -> list[int]:
        new = [index for index in members[: self._prefix_of(members).count] if index not in self.wanted]
        self.wanted.update(new)
        return new

    def _prefix_of(self, members: list[int]) -> Prefix:
        assert self._until is not None
        return self._prefix([self.plan.trials[index] for index in members], self._until)

    def _prefix(self, trials: list[PlannedTrial], rule: Until) -> Prefix:
        """The smallest prefix that satisfies the rule, or the longest that may be looked at."""
        least = min(rule.at_least, len(trials))
        ended = next((index for index, trial in enumerate(trials) if not self._has_ended(trial)), len(trials))
        values = [self._value(trial, rule.metric) for trial in trials[:ended]]
        if ended >= least and self._nobody_reports(trials[:least], rule.metric):
            return Prefix(least, f"no trial reports {rule.metric}")
        for count in range(least, ended + 1):
            found = [value for value in values[:count] if value is not None]
            error = statistics.standard_error(found)
            if error is not None and error <= rule.standard_error:
                return Prefix(count, f"standard error {error:.3g}{_of(found, count)} <= {rule.standard_error:g}")
        if ended < len(trials):
            return Prefix(max(least, ended + 1), "not finished")
        found = [value for value in values if value is not None]
        error = statistics.standard_error(found)
        what = "too few values" if error is None else f"standard error {error:.3g}{_of(found, ended)}"
        return Prefix(ended, f"at_most {ended}: {what}")

    def _has_ended(self, trial: PlannedTrial) -> bool:
        """Whether no target of the trial is still to come: each is there, or it or what it needs has failed."""
        return all(self._is_over(trial.nodes[name]) for name in trial.targets)

    def _is_over(self, key: str) -> bool:
        if key in self.outcomes or key in self.ended:
            return True
        return any(self._has_failed(ref.key) for ref in self.plan.nodes[key].inputs.values())

    def _has_failed(self, key: str) -> bool:
        return key not in self.outcomes and self._is_over(key)

    def _value(self, trial: PlannedTrial, metric: str) -> float | None:
        """What the trial's targets report as `metric`, named as in the records."""
        if self._has_diverged(trial):
            return None
        return next((value for value in self._reported(trial, metric) if math.isfinite(value)), None)

    def _has_diverged(self, trial: PlannedTrial) -> bool:
        return any(self.outcomes[key].status == "diverged" for key in trial.nodes.values() if key in self.outcomes)

    def _reported(self, trial: PlannedTrial, metric: str) -> Iterator[float]:
        for target in trial.targets:
            outcome = self.outcomes.get(trial.nodes[target])
            for name, value in outcome.metrics.items() if outcome else ():
                stage = target.partition(".")[0]
                if metric in (name, f"{stage}.{name}", f"{target}.{name}"):
                    yield float(value)

    def _nobody_reports(self, trials: list[PlannedTrial], metric: str) -> bool:
        """Whether some of these trials are done, in all of their targets, and none of those reports the metric."""
        ended = [trial for trial in trials if all(trial.nodes[name] in self.outcomes for name in trial.targets)]
        done = [trial for trial in ended if not self._has_diverged(trial)]
        return bool(done) and not any(True for trial in done for _ in self._reported(trial, metric))


def note_conflicts(spec: SweepSpec, problems: Problems) -> None:
    """Note what else in a sweep file would choose seeds where a rule does."""
    axis = spec.axes.get(SEED)
    if axis is None or axis.until is None:
        return
    why = "its `until` decides which seeds there are"
    for index, group in enumerate(spec.zip):
        if SEED in group:
            problems.add(("zip", index), f"axis seed cannot be paired: {why}")
    for name, selections in (("where", spec.where), ("exclude", spec.exclude)):
        if any(SEED in selection for selection in selections):
            problems.add((name,), f"axis seed cannot be selected: {why}")
    for stage in spec.stages.values():
        if stage.over == SEED:
            problems.add(("stages", stage.name, "over"), f"a stage cannot gather over seed: {why}")


def until(plan: Plan) -> Until | None:
    """The rule of a plan whose seeds are adaptive."""
    axis = plan.spec.axes.get(SEED)
    return None if axis is None else axis.until


def combination(trial: PlannedTrial) -> str:
    """What trials that differ only in the seed have in common."""
    return repr([(name, label) for name, label in trial.trial.levels.items() if name != SEED])


def wanted(plan: Plan, outcomes: Mapping[str, Outcome], failed: Collection[str] = ()) -> Plan:
    """The plan without the trials that adaptive seeds do not ask for yet; `failed` are the nodes that have failed."""
    return plan if until(plan) is None else Seeds(plan, outcomes, frozenset(failed)).plan_of_wanted()


def _of(values: list[float], count: int) -> str:
    """How many of the trials have a value, where not all have."""
    return "" if len(values) == count else f" of {len(values)} values"
