"""Medians and their differences, with bootstrap intervals and p-values: seeded, so equal values give equal numbers.

The percentile bootstrap is too narrow for few values: its error would be up to twice what it says. So its quantiles are
those that a t interval of as many values would have (Hesterberg 2015, "expanded percentile"), and an interval for one
sample, or for pairs, is never narrower than the exact one of the sign test. Fewer than six values have none.

Source: Hesterberg, What teachers should know about the bootstrap, The American Statistician 2015, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestrator.findings import statistics
from orchestrator.findings.statistics import LEVEL, Interval

if TYPE_CHECKING:
    import numpy

DRAWS = 9999
SEED = 20210
LEAST = 6  # of five values the exact interval that spans them all has 93.75 %


@dataclass(frozen=True)
class Median:
    """A median, or a difference of two.

    Attributes:
        draws: Medians of resamples, ascending.
        values: The sample, ascending; empty for a difference of two samples.
        n: How many values (or pairs) are behind it; of two samples those of the smaller.
    """

    estimate: float
    draws: numpy.ndarray
    values: Sequence[float]
    n: int

    @property
    def error(self) -> float:
        """The standard deviation of the draws."""
        return float(self.draws.std(ddof=1))

    @property
    def freedom(self) -> float:
        return self.n - 1

    def interval(self, level: float = LEVEL) -> Interval:
        """The hull of the expanded percentile interval and, for one sample, the sign test's."""
        import numpy
        from scipy.special import ndtr

        tail = (1 - level) / 2
        share = float(ndtr(-self._stretch * statistics.t_quantile(1 - tail, self.freedom)))
        low, high = (float(bound) for bound in numpy.quantile(self.draws, [share, 1 - share]))
        if self.values:
            below = max((k for k in range(self.n // 2) if _binomial(k, self.n) <= tail), default=None)
            low = -math.inf if below is None else min(low, self.values[below])
            high = math.inf if below is None else max(high, self.values[-1 - below])
        return Interval(self.estimate, low, high, self.n)

    def above(self, value: float) -> float:
        """The one-sided p-value of "it is more than `value`"."""
        import numpy

        beneath = int(numpy.searchsorted(self.draws, value, side="right"))
        return self._p_value(beneath, sum(item <= value for item in self.values))

    def below(self, value: float) -> float:
        """The one-sided p-value of "it is less than `value`"."""
        import numpy

        over = len(self.draws) - int(numpy.searchsorted(self.draws, value, side="left"))
        return self._p_value(over, sum(item >= value for item in self.values))

    def _p_value(self, draws: int, values: int) -> float:
        """Of so many draws, and values, on the other side."""
        from scipy.special import ndtri, stdtr

        if math.isclose(self.draws[0], self.draws[-1], rel_tol=1e-15):
            return 0.0 if draws == 0 else 1.0
        score = float(ndtri((draws + 1) / (len(self.draws) + 2)))
        bootstrap = float(stdtr(self.freedom, score / self._stretch))
        return max(bootstrap, _binomial(values, self.n)) if self.values else bootstrap

    @property
    def _stretch(self) -> float:
        """A sample's plug-in variance has n, and not n - 1, below."""
        return math.sqrt(self.n / (self.n - 1))


def median(values: Sequence[float]) -> Median | None:
    """The median of a sample, or of paired differences; None for fewer than six."""
    if len(values) < LEAST:
        return None
    ordered = sorted(values)
    return Median(statistics.quantile(ordered, 0.5) or 0.0, _draws([ordered]), ordered, len(ordered))


def difference(high: Sequence[float], low: Sequence[float]) -> Median | None:
    """median(high) - median(low) of unpaired samples, each resampled by itself; None if either has fewer than six."""
    if min(len(high), len(low)) < LEAST:
        return None
    first, second = sorted(high), sorted(low)
    center = (statistics.quantile(first, 0.5) or 0.0) - (statistics.quantile(second, 0.5) or 0.0)
    return Median(center, _draws([first, second]), (), min(len(first), len(second)))


def _draws(samples: Sequence[Sequence[float]]) -> numpy.ndarray:
    """Medians of resamples of the first sample, minus those of the second if there is one; ascending."""
    import numpy

    medians = []
    for number, sample in enumerate(samples):
        values, (below, above) = numpy.asarray(sample), _middles(len(sample), number)
        medians.append((values[below] + values[above]) / 2)
    return numpy.sort(medians[0] if len(medians) == 1 else medians[0] - medians[1])


@lru_cache(maxsize=64)
def _middles(n: int, number: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Which of n ascending values lie in the middle of each resample; `number` tells two samples' draws apart."""
    import numpy

    picked = numpy.random.default_rng([SEED, number]).integers(0, n, (DRAWS, n))
    picked.sort(axis=1)
    return picked[:, (n - 1) // 2], picked[:, n // 2]


def _binomial(count: int, n: int) -> float:
    """P(B <= count) of n fair coins."""
    return sum(math.comb(n, k) for k in range(count + 1)) / 2**n
