"""What one combination of levels says of a claim: its values, their interval, and the bound that it must lie in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from orchestrator import statistics
from orchestrator.notation import value_text

if TYPE_CHECKING:
    from orchestrator.statistics import Interval

Judgement = Literal["supported", "refuted", "undecided"]
TOLERANCE = 1e-12  # rounding of differences such as 0.95 - 0.80, relative to the bound
RANKS = {"refuted": 0, "undecided": 1, "supported": 2}


@dataclass(frozen=True)
class Bound:
    """The set that an interval must lie in: at_least, at_most, within; `strict` excludes the bound itself."""

    kind: Literal["at_least", "at_most", "within"]
    value: float
    strict: bool = False

    def judge(self, interval: Interval) -> Judgement:
        slack = TOLERANCE * max(1.0, abs(self.value))
        inside, outside = self._margins(interval)
        if self.strict:
            return "supported" if inside > 0 else "refuted" if outside >= 0 else "undecided"
        return "supported" if inside >= -slack else "refuted" if outside > slack else "undecided"

    def _margins(self, interval: Interval) -> tuple[float, float]:
        """How far the interval lies inside and outside; at most one is positive."""
        if self.kind == "at_least":
            return interval.low - self.value, self.value - interval.high
        if self.kind == "at_most":
            return self.value - interval.high, interval.low - self.value
        farthest = max(abs(interval.low), abs(interval.high))
        return self.value - farthest, max(interval.low, -interval.high) - self.value

    def margin(self, interval: Interval | None) -> float:
        return -math.inf if interval is None else self._margins(interval)[0]

    def text(self, metric: str, difference: bool) -> str:
        value = value_text(self.value, metric, difference)
        if self.kind == "within":
            return f"within ±{value}"
        return f"{'>' if self.kind == 'at_least' else '<'}{'' if self.strict else '='} {value}"


@dataclass(frozen=True)
class Case:
    """One combination of levels.

    Attributes:
        label: The levels, as far as they vary.
        values: The metric by trial, or the paired differences.
        dropped: By status how many trials or pairs could give no value: they cap the judgement at "undecided".
        kind: What is counted: "values" or "pairs".
    """

    label: str
    values: Sequence[float]
    dropped: Mapping[str, int]
    bound: Bound
    kind: str

    @cached_property
    def interval(self) -> Interval | None:
        return statistics.t_interval(self.values)

    @property
    def judgement(self) -> Judgement:
        interval = self.interval
        return "undecided" if interval is None or self.dropped else self.bound.judge(interval)

    @property
    def order(self) -> tuple[int, float]:
        """The least favourable case is the smallest."""
        return RANKS[self.judgement], self.bound.margin(self.interval)

    @property
    def why(self) -> str:
        reasons = []
        if self.dropped:
            counts = ", ".join(f"{count} {status}" for status, count in sorted(self.dropped.items()))
            total = len(self.values) + sum(self.dropped.values())
            reasons.append(f"{sum(self.dropped.values())} of {total} {self.kind} dropped ({counts})")
        interval = self.interval
        if interval is None:
            reasons.append(f"too few seeds: {len(self.values)} {self.kind}, at least 2 are needed")
        elif self.dropped:
            alone = {"supported": "would support the claim", "refuted": "would refute it"}
            reasons.append(f"the others alone {alone.get(self.bound.judge(interval), 'would not decide it')}")
        elif self.judgement == "undecided":
            reasons.append("the interval contains the bound")
        return "; ".join(reasons)
