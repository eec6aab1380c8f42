"""What one combination of levels says of a claim: its values, their interval, and the bound that it must lie in."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from orchestrator.findings import medians, statistics
from orchestrator.findings.levels import level_text
from orchestrator.findings.notation import bound_text

if TYPE_CHECKING:
    from orchestrator.findings.medians import Median
    from orchestrator.findings.statistics import Interval, Student
    from orchestrator.sweepfile.axes import Scalar

Judgement = Literal["supported", "refuted", "undecided"]
Kind = Literal["values", "pairs", "samples"]
ALPHA = (1 - statistics.LEVEL) / 2  # of either side: a 95 % interval errs by as much
TOLERANCE = 1e-12  # rounding of differences such as 0.95 - 0.80, relative to the values
PERCENT = f"{100 * statistics.LEVEL:.0f} %"


def judgement(support: float, refutation: float, alpha: float = ALPHA) -> Judgement:
    """What two one-sided p-values say."""
    return "supported" if support <= alpha else "refuted" if refutation <= alpha else "undecided"


@dataclass(frozen=True)
class Bound:
    """The numbers that a claim allows: low .. high; `strict` excludes the ends."""

    low: float = -math.inf
    high: float = math.inf
    strict: bool = False

    @property
    def sides(self) -> int:
        return math.isfinite(self.low) + math.isfinite(self.high)

    def support(self, found: Student | Median, slack: float) -> float:
        """The p-value of "it lies inside": both of the one-sided tests must say so."""
        slack = slack if self.strict else -slack
        return max(found.above(self.low + slack), found.below(self.high - slack))

    def refutation(self, found: Student | Median, slack: float) -> float:
        """The p-value of "it lies outside"."""
        slack = slack if self.strict else -slack
        return min(found.below(self.low + slack), found.above(self.high - slack))

    def moved(self, inwards: float) -> Bound:
        """With each end moved so far inwards, or outwards for numbers below 0."""
        return Bound(self.low + inwards, self.high - inwards, self.strict)

    def margins(self, value: float) -> list[float]:
        """How far a value inside lies from each end, or one outside from the nearest."""
        if value < self.low:
            return [self.low - value]
        if value > self.high:
            return [value - self.high]
        return [margin for margin in (value - self.low, self.high - value) if math.isfinite(margin)]

    def text(self, metric: str, difference: bool) -> str:
        if self.sides == 2:
            if self.low == -self.high:
                return f"within ±{bound_text(self.high, metric, difference)}"
            return f"in {bound_text(self.low, metric, difference)} .. {bound_text(self.high, metric, difference)}"
        sign, value = (">", self.low) if math.isfinite(self.low) else ("<", self.high)
        return f"{sign}{'' if self.strict else '='} {bound_text(value, metric, difference)}"


@dataclass(frozen=True)
class Case:
    """One combination of levels.

    Attributes:
        label: The levels, as far as they vary.
        samples: The metric by trial or the paired differences; of a comparison without pairs both samples.
        dropped: By status how many trials or pairs could give no value: they cap the judgement at "undecided".
        kind: What the samples are.
        scale: The size of the values, for rounding.
        levels: The combination.
        residual: How far the numbers may be from what they stand for, as eigenvalues are; held against either verdict.
    """

    label: str
    samples: tuple[Sequence[float], ...]
    dropped: Mapping[str, int]
    bound: Bound
    kind: Kind
    scale: float
    levels: Mapping[str, Scalar]
    of_median: bool = False
    residual: float = 0.0

    @cached_property
    def found(self) -> Student | Median | None:
        if self.of_median:
            return medians.difference(*self.samples) if self.kind == "samples" else medians.median(self.samples[0])
        return statistics.welch(*self.samples) if self.kind == "samples" else statistics.student(self.samples[0])

    @property
    def interval(self) -> Interval | None:
        return self.found and self.found.interval()

    @property
    def center(self) -> float | None:
        """The estimate, also of too few values for an interval."""
        if self.of_median:
            found = [statistics.quantile(sample, 0.5) for sample in self.samples]
        else:
            found = [statistics.mean(sample) for sample in self.samples]
        if any(value is None for value in found):
            return None
        return (found[0] or 0.0) - (found[1] or 0.0 if len(found) > 1 else 0.0)

    @property
    def n(self) -> int:
        return min(len(sample) for sample in self.samples)

    @property
    def alone(self) -> tuple[float, float]:
        """The p-values of support and refutation, whatever was dropped."""
        slack = max(TOLERANCE * self.scale, sys.float_info.min)  # values that are all 0 reach a bound of 0
        if self.found is None:
            return 1.0, 1.0
        inner, outer = self.bound.moved(self.residual), self.bound.moved(-self.residual)
        return inner.support(self.found, slack), outer.refutation(self.found, slack)

    @cached_property
    def p_values(self) -> tuple[float, float]:
        return (1.0, 1.0) if self.dropped else self.alone

    @property
    def judgement(self) -> Judgement:
        return judgement(*self.p_values)

    @property
    def margin(self) -> float:
        """How far inside the interval lies; the least favourable case has the smallest."""
        interval = self.interval
        return -math.inf if interval is None else min(interval.low - self.bound.low, self.bound.high - interval.high)

    @property
    def test(self) -> str:
        """The test by its name."""
        names = {
            (False, "values"): "t over seeds", (False, "pairs"): "paired t over seeds",
            (False, "samples"): "Welch's t over seeds", (True, "values"): "median, bootstrap over seeds",
            (True, "pairs"): "median of pairs, bootstrap over seeds",
            (True, "samples"): "difference of medians, bootstrap over seeds",
        }  # fmt: skip
        both = ", two one-sided tests" if self.bound.sides == 2 else ""
        doubt = f", residuals up to {self.residual:.0e} held against it" if self.residual else ""
        return f"{names[self.of_median, self.kind]}{both}, {PERCENT}{doubt}"

    @property
    def reasons(self) -> list[str]:
        """What stands against a stronger judgement."""
        found = []
        what = {"values": "values", "pairs": "pairs", "samples": "values a level"}[self.kind]
        if self.dropped:
            counts = ", ".join(f"{count} {status}" for status, count in sorted(self.dropped.items()))
            total = sum(map(len, self.samples)) + sum(self.dropped.values())
            unit = "values" if self.kind == "samples" else what
            found.append(f"{sum(self.dropped.values())} of {total} {unit} dropped ({counts})")
        if self.found is None:
            least = medians.LEAST if self.of_median else 2
            found.append(f"too few seeds: {self.n} {what}, at least {least} are needed, {least - self.n} more")
        elif self.dropped:
            said = {"supported": "would support the claim", "refuted": "would refute it"}
            found.append(f"the others alone {said.get(judgement(*self.alone), 'would not decide it')}")
        elif self.judgement == "undecided":
            found.append("the interval contains the bound")
        return found


def levels_text(levels: Mapping[str, Scalar], axes: Sequence[str], short: Mapping[str, str]) -> str:
    """`width=64 depth=2`."""
    return " ".join(f"{short[axis]}={level_text(levels[axis])}" for axis in axes)
