"""Records -> verdicts: supported where the 95 % interval lies inside the claim, refuted wholly outside, else undecided.

A claim is judged separately for every combination of the axes that its `where` leaves open (all but the seed), and must
hold for all of them. Differences are paired by seed: trials with one seed share initial weights and data order.
Each combination is tested at 95 % by itself: that keeps the error rate of "supported", which needs all of them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from orchestrator import statistics
from orchestrator.axes import SEED
from orchestrator.errors import allowed
from orchestrator.evidence import Bound, Case, Judgement
from orchestrator.levels import is_level, level_text, short_names
from orchestrator.notation import interval_text
from orchestrator.record import ADAPTIVE, AXIS, METRIC, axis_names, metric_names
from orchestrator.store import Scalar

if TYPE_CHECKING:
    import pyarrow

    from orchestrator.spec import ClaimSpec

PAIRED = "paired t over seeds, 95 %"
PLAIN = "t over seeds, 95 %"
SEQUENTIAL = ", sequential (adaptive seeds)"
SIGNS = {"supported": "✓", "refuted": "✗", "undecided": "?"}


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim; the numbers are those of the combination that bears it out least.

    Attributes:
        criterion: The claim as a formula, such as `test_accuracy: random - adversarial >= 15.00 points`.
        estimate: The mean (difference) with its interval `low` .. `high`; None where there are too few values.
        n: Values or pairs behind the estimate.
        combination: The levels for which the estimate holds, "" if there is only one combination.
        why: What stands against a stronger verdict, and how many combinations were judged.
    """

    name: str
    says: str
    verdict: Judgement
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    test: str
    why: str
    metric: str
    criterion: str
    combination: str


@dataclass(frozen=True)
class _Trial:
    levels: Mapping[str, Scalar]
    value: float | None
    status: str

    @property
    def seed(self) -> Scalar:
        return self.levels.get(SEED)

    @property
    def usable(self) -> bool:
        """A metric stands for itself even where another one failed; what diverged measured no trained network."""
        return self.status != "diverged" and self.value is not None and math.isfinite(self.value)

    @property
    def fate(self) -> str:
        """Why it is not usable."""
        if self.value is not None and self.status != "diverged":
            return "not finite"
        return "missing" if self.status == "done" else self.status


class _Undecidable(Exception):
    """The records lack what the claim speaks of."""


def judge(claim: ClaimSpec, records: pyarrow.Table) -> Verdict:
    """The verdict on a claim; a pure function of the records, which may be those of a sweep that still runs.

    Forms: `compare` (the difference high - low) or the metric itself, each with `at_least`, `at_most` or `within`
    (an equivalence test: the interval inside [-m, m]); `compare` alone means a difference above 0; `increasing` and
    `decreasing` (every difference of adjacent levels, in numeric order where they are numbers, is above or below 0).
    """
    paired = claim.compare is not None or _trend(claim) is not None
    test = (PAIRED if paired else PLAIN) + (SEQUENTIAL if ADAPTIVE in records.column_names else "")
    criterion = _criterion(claim)
    common = {"name": claim.name, "says": claim.says, "metric": claim.metric, "criterion": criterion, "test": test}
    try:
        cases = list(_cases(claim, _trials(claim, records)))
        if not cases:
            raise _Undecidable("no combination of levels has what the claim compares")
    except _Undecidable as reason:
        return Verdict(
            **common, verdict="undecided", estimate=None, low=None, high=None, n=0, why=str(reason), combination=""
        )
    worst = min(cases, key=lambda case: case.order)
    interval = worst.interval
    return Verdict(
        **common,
        verdict=worst.judgement,
        estimate=interval.estimate if interval else statistics.mean(worst.values),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=len(worst.values),
        why="; ".join(filter(None, [worst.why, _tally(cases)])),
        combination=worst.label,
    )


def _trend(claim: ClaimSpec) -> str | None:
    return claim.increasing or claim.decreasing


def _bound(claim: ClaimSpec) -> Bound:
    if _trend(claim):
        return Bound("at_least" if claim.increasing else "at_most", 0.0, strict=True)
    for kind in ("at_least", "at_most", "within"):
        if (value := getattr(claim, kind)) is not None:
            return Bound(kind, float(value))
    return Bound("at_least", 0.0, strict=True)


def _criterion(claim: ClaimSpec) -> str:
    if trend := _trend(claim):
        return f"{claim.metric} {'increases' if claim.increasing else 'decreases'} along {trend.rpartition('.')[2]}"
    bound = _bound(claim).text(claim.metric, claim.compare is not None)
    if claim.compare is None:
        return f"{claim.metric} {bound}"
    high, low = level_text(claim.compare.high), level_text(claim.compare.low)
    return f"{claim.metric}, {claim.compare.axis.rpartition('.')[2]} {high} − {low} {bound}"


def _trials(claim: ClaimSpec, records: pyarrow.Table) -> list[_Trial]:
    """The trials that the claim speaks of, with its metric."""
    axes, metrics = axis_names(records), metric_names(records)
    named = [*claim.where, *filter(None, [claim.compare and claim.compare.axis, _trend(claim)])]
    for axis in named:
        if axis not in axes:
            raise _Undecidable(f"the records have no axis {axis!r}; {allowed(axis, axes)}")
    if claim.metric not in metrics:
        raise _Undecidable(f"no trial reports {claim.metric!r}; {allowed(claim.metric, metrics)}")
    columns = [records[f"{AXIS}{axis}"].to_pylist() for axis in axes]
    for axis, wanted in claim.where.items():
        _require(axis, wanted if isinstance(wanted, tuple | list) else (wanted,), columns[axes.index(axis)])
    values, status = records[f"{METRIC}{claim.metric}"].to_pylist(), records["status"].to_pylist()
    levels = [dict(zip(axes, row, strict=True)) for row in zip(*columns, strict=True)] if axes else [{}] * len(values)
    found = [_Trial(*parts) for parts in zip(levels, values, status, strict=True) if _in(parts[0], claim.where)]
    if not found:
        raise _Undecidable("no trial has all the levels of `where`")
    return found


def _require(axis: str, wanted: Sequence[Scalar], column: Sequence[Scalar]) -> None:
    present = list(dict.fromkeys(column))
    for label in wanted:
        if not any(is_level(level, label) for level in present):
            texts = [level_text(level) for level in present]
            raise _Undecidable(f"no trial has {axis} = {level_text(label)}; {allowed(level_text(label), texts)}")


def _in(levels: Mapping[str, Scalar], where: Mapping[str, Any]) -> bool:
    return all(
        any(is_level(levels[axis], label) for label in (wanted if isinstance(wanted, tuple | list) else (wanted,)))
        for axis, wanted in where.items()
    )


def _cases(claim: ClaimSpec, trials: Sequence[_Trial]) -> Iterator[Case]:
    bound, trend = _bound(claim), _trend(claim)
    along = claim.compare.axis if claim.compare else trend
    groups = _combinations(trials, along)
    if along is None:
        for label, group in groups:
            kept = [trial.value for trial in group if trial.usable and trial.value is not None]
            yield Case(label, kept, Counter(trial.fate for trial in group if not trial.usable), bound, "values")
        return
    if claim.compare:
        _require(along, (claim.compare.high, claim.compare.low), [trial.levels[along] for trial in trials])
        steps = [(claim.compare.low, claim.compare.high)]
    else:
        steps = _adjacent(along, [trial.levels[along] for trial in trials])
    for label, group in groups:
        for low, high in steps:
            step = "" if claim.compare else f"{level_text(low)} → {level_text(high)}"
            if case := _pairs(" ".join(filter(None, [step, label])), group, along, low, high, bound):
                yield case


def _adjacent(axis: str, column: Sequence[Scalar]) -> list[tuple[Scalar, Scalar]]:
    levels = list(dict.fromkeys(column))
    numbers = [level for level in levels if isinstance(level, int | float) and not isinstance(level, bool)]
    ordered: Sequence[Scalar] = sorted(numbers) if len(numbers) == len(levels) else levels
    if len(ordered) < 2:
        raise _Undecidable(f"{axis} has the one level {level_text(ordered[0])}: nothing to order")
    return list(pairwise(ordered))


def _combinations(trials: Sequence[_Trial], along: str | None) -> list[tuple[str, list[_Trial]]]:
    """The trials by the levels of all axes but the seed and the one compared, labelled by those that vary."""
    axes = [axis for axis in trials[0].levels if axis not in (SEED, along)]
    varying = [axis for axis in axes if len({trial.levels[axis] for trial in trials}) > 1]
    short = short_names(trials[0].levels)
    groups: dict[str, list[_Trial]] = {}
    for trial in trials:
        label = " ".join(f"{short[axis]}={level_text(trial.levels[axis])}" for axis in varying)
        groups.setdefault(label, []).append(trial)
    return list(groups.items())


def _pairs(label: str, group: Sequence[_Trial], along: str, low: Scalar, high: Scalar, bound: Bound) -> Case | None:
    """The differences high - low by seed; None where the plan pairs no two trials."""
    below = {trial.seed: trial for trial in group if is_level(trial.levels[along], low)}
    above = {trial.seed: trial for trial in group if is_level(trial.levels[along], high)}
    differences: list[float] = []
    dropped: Counter[str] = Counter()
    seeds = [seed for seed in above if seed in below]
    for pair in ((above[seed], below[seed]) for seed in seeds):
        lost = next((trial for trial in pair if not trial.usable), None)
        if lost is not None:
            dropped[lost.fate] += 1
        elif pair[0].value is not None and pair[1].value is not None:
            differences.append(pair[0].value - pair[1].value)
    return Case(label, differences, dropped, bound, "pairs") if seeds else None


def _tally(cases: Sequence[Case]) -> str:
    if len(cases) == 1:
        return ""
    counts = Counter(case.judgement for case in cases)
    return f"{len(cases)} cases: " + ", ".join(f"{counts[name]} {name}" for name in SIGNS if counts[name])


def render_verdicts(verdicts: Sequence[Verdict], format: Literal["text", "json"] = "text") -> str:
    """The verdicts for people or for programs."""
    if format == "json":
        return json.dumps([asdict(verdict) for verdict in verdicts], indent=1, ensure_ascii=False, allow_nan=False)
    return "\n".join(_lines(verdict) for verdict in verdicts)


def _lines(verdict: Verdict) -> str:
    head = f"{SIGNS[verdict.verdict]} {verdict.verdict:<9}  {verdict.name}: {verdict.says}"
    return "\n".join([head, *(f"    {line}" for line in filter(None, [_numbers(verdict), verdict.why]))])


def _numbers(verdict: Verdict) -> str:
    parts = [verdict.criterion]
    if verdict.estimate is not None:
        difference = verdict.test.startswith(PAIRED)
        found = interval_text(verdict.estimate, verdict.low, verdict.high, verdict.metric, difference)
        at = f" at {verdict.combination}" if verdict.combination else ""
        parts.append(f"found {found}, n={verdict.n}{at} ({verdict.test})")
    return ": ".join(parts)
