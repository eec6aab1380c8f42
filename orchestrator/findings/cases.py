"""Records -> the cases of a claim: for every combination of levels the values that it is judged by."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.compute

from orchestrator.errors import allowed
from orchestrator.findings.evidence import Bound, Case, levels_text
from orchestrator.findings.levels import is_level, level_text, short_names
from orchestrator.findings.residuals import RESIDUAL
from orchestrator.record import AXIS, METRIC, axis_names, metric_names
from orchestrator.store import Scalar
from orchestrator.sweepfile.axes import SEED

if TYPE_CHECKING:
    from orchestrator.spec import ClaimSpec


FEW = 12  # levels that a message lists
LARGEST = 1e300  # of a value, for differences and squares to be numbers too


class Undecidable(Exception):
    """The records lack what the claim speaks of."""


@dataclass(frozen=True)
class Trial:
    """A trial as a claim sees it; the residual is that of an eigenvalue."""

    levels: Mapping[str, Scalar]
    value: float | None
    status: str
    residual: float | None = None

    @property
    def seed(self) -> Scalar:
        return self.levels.get(SEED)

    @property
    def usable(self) -> float | None:
        """Its value; a metric stands for itself even where another one failed; what diverged measured no network."""
        if self.status == "diverged" or self.value is None or not abs(self.value) <= LARGEST:
            return None
        return self.value

    @property
    def fate(self) -> str:
        """Why it is not usable."""
        if self.value is not None and self.status != "diverged":
            return f"beyond {LARGEST:g}" if math.isfinite(self.value) else "not finite"
        return self.status


def axis_of(claim: ClaimSpec) -> str | None:
    """The axis that a claim compares along; None for a bound on the metric itself."""
    for form in (claim.compare, claim.contrast, claim.order):
        if form is not None:
            return form.axis
    return claim.trend or claim.increasing or claim.decreasing


def bound_of(claim: ClaimSpec) -> Bound:
    """What the metric, or each difference, must be."""
    if claim.decreasing:
        return Bound(high=0.0, strict=True)
    if claim.within is not None:
        return Bound(-claim.within, claim.within)
    if claim.at_least is None and claim.at_most is None:
        return Bound(low=0.0, strict=True)
    low, high = claim.at_least, claim.at_most
    return Bound(-math.inf if low is None else low, math.inf if high is None else high)


def cases(claim: ClaimSpec, records: pyarrow.Table) -> list[Case]:
    """The cases of a claim; it holds if it holds in all of them, or in those that `for_most` asks for.

    Raises:
        Undecidable: the records lack what the claim speaks of.
    """
    found = list(_cases(claim, _trials(claim, records)))
    if not found:
        raise Undecidable("no combination of levels has what the claim compares")
    return found


def _trials(claim: ClaimSpec, records: pyarrow.Table) -> list[Trial]:
    """The trials that the claim speaks of, with its metric."""
    axes, metrics = axis_names(records), metric_names(records)
    most = claim.for_most and claim.for_most.axis
    for axis in [*claim.where, *claim.for_all, *filter(None, [axis_of(claim), most])]:
        if axis not in axes:
            raise Undecidable(f"the records have no axis {axis!r}; {allowed(axis, axes)}")
    if claim.metric not in metrics:
        raise Undecidable(f"no trial reports {claim.metric!r}; {allowed(claim.metric, metrics)}")
    beside = f"{METRIC}{claim.metric}{RESIDUAL}"
    own = [f"{METRIC}{claim.metric}", "status", *([beside] if beside in records.column_names else [])]
    chosen = records.select([*(f"{AXIS}{axis}" for axis in axes), *own])
    for axis, wanted in claim.where.items():
        labels = wanted if isinstance(wanted, tuple | list) else (wanted,)
        levels = records[f"{AXIS}{axis}"].unique().to_pylist()
        require(axis, labels, levels)
        kept = [level for level in levels if any(is_level(level, label) for label in labels)]
        chosen = chosen.filter(pyarrow.compute.field(f"{AXIS}{axis}").isin(kept))
    if not chosen.num_rows:
        raise Undecidable("no trial has all the levels of `where`")
    columns = [column.to_pylist() for column in chosen.columns]
    found = zip(*columns[len(axes) :], strict=True)
    levels = zip(*columns[: len(axes)], strict=True) if axes else repeat(())
    trials = [Trial(dict(zip(axes, row, strict=True)), *own) for row, own in zip(levels, found, strict=False)]
    # One that is done without it has none to give: what a gathering stage reports stands in its first trial's row.
    if not (told := [trial for trial in trials if trial.value is not None or trial.status != "done"]):
        raise Undecidable(f"no trial with the levels of `where` reports {claim.metric}")
    return told


def require(axis: str, wanted: Sequence[Scalar], present: Sequence[Scalar]) -> None:
    """Refuse levels that no trial has: the file has them, so the scale, `--set` or an `exclude` left them out."""
    for label in wanted:
        if not any(is_level(level, label) for level in present):
            shown = [level_text(level) for level in present[:FEW]]
            rest = [f"{len(present) - FEW} more"] if len(present) > FEW else []
            raise Undecidable(f"no trial has {axis} = {level_text(label)}, only {', '.join([*shown, *rest])}")


def _cases(claim: ClaimSpec, trials: Sequence[Trial]) -> Iterator[Case]:
    bound, along, median = bound_of(claim), axis_of(claim), claim.statistic == "median"
    combined = bool(claim.trend or claim.contrast)
    steps = _steps(claim, along, [trial.levels[along] for trial in trials]) if along and not combined else []
    for label, group in _combinations(trials, along):
        if along and combined:
            weights = _weights(claim, list(dict.fromkeys(trial.levels[along] for trial in group)))
            if weights:
                yield _combination(label, group, along, weights, bound, median)
        if along is None:
            kept, dropped = _split([(trial,) for trial in group])
            levels, doubt = group[0].levels, _residual(group)
            yield Case(label, (kept[0],), dropped, bound, "values", _scale(kept), levels, median, doubt)
        for low, high in steps:
            below = [trial for trial in group if is_level(trial.levels[along or ""], low)]
            above = [trial for trial in group if is_level(trial.levels[along or ""], high)]
            if not below or not above:
                continue
            step = "" if claim.compare else f"{level_text(low)} → {level_text(high)}"
            yield _comparison(" ".join(filter(None, [step, label])), above, below, bound, median)


def _steps(claim: ClaimSpec, along: str, column: Sequence[Scalar]) -> list[tuple[Scalar, Scalar]]:
    """The pairs of levels, low and high, whose differences must all lie in the bound."""
    levels = list(dict.fromkeys(column))
    if claim.compare:
        require(along, (claim.compare.high, claim.compare.low), levels)
        return [(claim.compare.low, claim.compare.high)]
    if claim.order:
        require(along, claim.order.levels, levels)
        return list(pairwise(claim.order.levels))
    ordered = _ordered(levels)
    if len(ordered) < 2:
        raise Undecidable(f"{along} has the one level {level_text(ordered[0])}: nothing to order")
    return list(pairwise(ordered))


def _ordered(levels: Sequence[Scalar]) -> Sequence[Scalar]:
    """Levels by size where all are numbers, else as they are."""
    numbers: list[Any] = [level for level in levels if isinstance(level, int | float) and not isinstance(level, bool)]
    return sorted(numbers) if len(numbers) == len(levels) else levels


def _weights(claim: ClaimSpec, levels: Sequence[Scalar]) -> list[tuple[Scalar, float]]:
    """By what the metric is multiplied at each level; nothing where the levels do not allow it.

    A trend is the slope of the least-squares line over the levels' ranks r: sum (r - mean r) y / sum (r - mean r)^2.
    """
    if claim.contrast:
        named = claim.contrast.weights.items()
        found = [(level, weight) for text, weight in named for level in levels if is_level(level, text)]
        return found if len(found) == len(named) else []
    ordered = _ordered(levels)
    ranks = [rank - (len(ordered) - 1) / 2 for rank in range(len(ordered))]
    square = sum(rank * rank for rank in ranks)
    return [(level, rank / square) for level, rank in zip(ordered, ranks, strict=True)] if square else []


def _combinations(trials: Sequence[Trial], along: str | None) -> list[tuple[str, list[Trial]]]:
    """The trials by the levels of all axes but the seed and the one compared, labelled by those that vary."""
    axes = [axis for axis in trials[0].levels if axis not in (SEED, along)]
    varying = [axis for axis in axes if len({trial.levels[axis] for trial in trials}) > 1]
    short = short_names(trials[0].levels)
    groups: dict[tuple[Scalar, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial.levels[axis] for axis in varying), []).append(trial)
    return [(levels_text(group[0].levels, varying, short), group) for group in groups.values()]


def _comparison(label: str, above: Sequence[Trial], below: Sequence[Trial], bound: Bound, median: bool) -> Case:
    """Differences by seed where the two levels share seeds; both samples where they share at most one of several."""
    first, second = ({trial.seed: trial for trial in side} for side in (above, below))
    shared = [seed for seed in first if seed in second]
    levels, doubt = above[0].levels, _residual(above) + _residual(below)
    if len(shared) > 1 or len(first) == len(second) == len(shared):
        kept, dropped = _split([(first[seed], second[seed]) for seed in shared])
        differences = [high - low for high, low in zip(*kept, strict=True)]
        return Case(label, (differences,), dropped, bound, "pairs", _scale(kept), levels, median, doubt)
    (high, lost), (low, also) = (_split([(trial,) for trial in side.values()]) for side in (first, second))
    samples = (high[0], low[0])
    return Case(label, samples, lost + also, bound, "samples", _scale(samples), levels, median, doubt)


def _combination(
    label: str,
    group: Sequence[Trial],
    along: str,
    weights: Sequence[tuple[Scalar, float]],
    bound: Bound,
    median: bool,
) -> Case:
    """The weighted sum of the values of each seed that has all the levels."""
    sides = [{trial.seed: trial for trial in group if is_level(trial.levels[along], level)} for level, _ in weights]
    shared = [seed for seed in sides[0] if all(seed in side for side in sides)]
    kept, dropped = _split([tuple(side[seed] for side in sides) for seed in shared], len(sides))
    factors = [weight for _, weight in weights]
    sums = [sum(map(operator.mul, factors, row)) for row in zip(*kept, strict=True)]
    doubt = sum(map(abs, factors)) * _residual(group)
    return Case(label, (sums,), dropped, bound, "values", _scale(kept), group[0].levels, median, doubt)


def _residual(trials: Sequence[Trial]) -> float:
    """The largest of those whose values count."""
    return max((trial.residual or 0.0 for trial in trials if trial.usable is not None), default=0.0)


def _split(rows: Sequence[tuple[Trial, ...]], width: int = 1) -> tuple[list[list[float]], Counter[str]]:
    """The values, by place in the row, of those rows that are usable as a whole; and why the others are not."""
    kept: list[list[float]] = [[] for _ in range(len(rows[0]) if rows else width)]
    dropped: Counter[str] = Counter()
    for row in rows:
        values = [trial.usable for trial in row]
        lost = next((trial for trial, value in zip(row, values, strict=True) if value is None), None)
        if lost is not None:
            dropped[lost.fate] += 1
            continue
        for place, value in enumerate(values):
            kept[place].append(value or 0.0)
    return kept, dropped


def _scale(samples: Sequence[Sequence[float]]) -> float:
    return max((abs(value) for sample in samples for value in sample), default=0.0)
