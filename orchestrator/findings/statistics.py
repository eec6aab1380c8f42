"""The statistics that tables and claims print: pure functions of finite numbers, formulas in the docstrings.

Spreads are those of a sample (ddof=1). What needs two values is None with fewer: one seed has no spread.
Sums are exact (`math.fsum`), so no result depends on the order of the values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy

LEVEL = 0.95
FEW = 32  # values that `math.fsum` sums faster
HUGE = 1000  # binary exponent above which 2^(e + m) might overflow


class Interval(NamedTuple):
    """An estimate with its confidence interval; n counts the values (or pairs) behind it."""

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Student:
    """An estimate whose error divided by `error` has Student's t distribution.

    Attributes:
        error: Its standard error; 0 where the values do not vary: then every p-value is 0 or 1.
        freedom: Degrees of freedom, which may be fractional.
        n: How many values (or pairs) are behind it; of two samples those of the smaller.
    """

    estimate: float
    error: float
    freedom: float
    n: int

    def interval(self, level: float = LEVEL) -> Interval:
        """estimate -+ t_{(1 + level)/2, freedom} * error."""
        half = t_quantile((1 + level) / 2, self.freedom) * self.error if self.error else 0.0
        return Interval(self.estimate, self.estimate - half, self.estimate + half, self.n)

    def above(self, value: float) -> float:
        """The one-sided p-value of "it is more than `value`": P(T >= (estimate - value) / error)."""
        return self._tail(self.estimate - value)

    def below(self, value: float) -> float:
        """The one-sided p-value of "it is less than `value`"."""
        return self._tail(value - self.estimate)

    def _tail(self, margin: float) -> float:
        from scipy.special import stdtr

        if not self.error or math.isinf(margin):
            return 0.0 if margin > 0 else 1.0
        return float(stdtr(self.freedom, -margin / self.error))


def exact_sum(values: numpy.ndarray) -> float:
    """What `math.fsum` gives for finite numbers, several times faster for many of them.

    With 2^e above all |x_i| and m = ceil(log2(n + 2)), adding 2^(e + m) to every value and subtracting it again leaves
    their leading bits, whose sum has no rounding in whatever order; the rest is treated in the same way.

    Source: Rump, Ogita and Oishi, Accurate floating-point summation part I, SIAM Journal on Scientific Computing 2008.

    Example:
        >>> import numpy
        >>> exact_sum(numpy.array([1e16, 1.0, -1e16] * 100))
        100.0
    """
    import numpy

    parts, left = [], values
    room = math.ceil(math.log2(len(values) + 2))
    while largest := float(numpy.abs(left).max(initial=0)):
        exponent = math.frexp(largest)[1] + room
        if len(values) < FEW or exponent > HUGE:
            return math.fsum(values.tolist())
        scale = math.ldexp(1.0, exponent)
        leading = (scale + left) - scale
        parts.append(float(leading.sum()))
        left = left - leading
    return math.fsum(parts)


def mean(values: Sequence[float]) -> float | None:
    """(1/n) sum x_i; None for no values.

    Example:
        >>> mean([1, 2, 3])
        2.0
    """
    return mean_and_std(values)[0]


def mean_and_std(values: Sequence[float] | numpy.ndarray) -> tuple[float | None, float | None]:
    """What `mean` and `std` say, in one go."""
    import numpy

    if not len(values):
        return None, None
    if len(values) < FEW and (found := _of_few(values)):
        return found
    array = numpy.asarray(values, dtype=float)
    if math.frexp(float(numpy.abs(array).max()))[1] > HUGE:  # their sum may be too large where their mean is not
        center, spread = mean_and_std(numpy.ldexp(array, -HUGE))
        return center and center * 2.0**HUGE, spread and spread * 2.0**HUGE
    center = exact_sum(array) / len(array)
    if len(array) < 2:
        return center, None
    deviations = array - center
    _, exponent = math.frexp(float(numpy.abs(deviations).max()))
    deviations = numpy.ldexp(deviations, -exponent)  # exact, and no square is too large or too small
    return center, math.ldexp(math.sqrt(exact_sum(deviations * deviations) / (len(array) - 1)), exponent)


def _of_few(values: Sequence[float] | numpy.ndarray) -> tuple[float, float | None] | None:
    """The same bits without numpy; None where squares or sums might be too large or too small."""
    few = [float(value) for value in values]
    if max(map(abs, few)) > 1e150:
        return None
    center = math.fsum(few) / len(few)
    if len(few) < 2:
        return center, None
    deviations = [value - center for value in few]
    if 0 < max(map(abs, deviations)) < 1e-100:
        return None
    return center, math.sqrt(math.fsum([value * value for value in deviations]) / (len(few) - 1))


def std(values: Sequence[float]) -> float | None:
    """Sample standard deviation, sqrt(sum (x_i - mean)^2 / (n - 1)); None for n < 2.

    Example:
        >>> std([1, 2, 3])
        1.0
        >>> std([1]) is None
        True
    """
    return mean_and_std(values)[1]


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean, std / sqrt(n) with the sample std; None for n < 2.

    Example:
        >>> round(standard_error([1, 2, 3]), 4)
        0.5774
    """
    spread = std(values)
    return None if spread is None else spread / math.sqrt(len(values))


def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution with `freedom` degrees of freedom (which may be fractional).

    Example:
        >>> round(t_quantile(0.975, 2), 4)
        4.3027
    """
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, at a tenth of the import time

    return float(stdtrit(freedom, probability))


def student(values: Sequence[float]) -> Student | None:
    """The mean, by the one-sample t test: n - 1 degrees of freedom; None for n < 2.

    Example:
        >>> round(student([1, 2, 3]).above(0), 4)
        0.0371
    """
    center, spread = mean_and_std(values)
    if center is None or spread is None:
        return None
    return Student(center, spread / math.sqrt(len(values)), len(values) - 1, len(values))


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """mean -+ t_{(1 + level)/2, n - 1} * standard error; None for n < 2. Of width 0 where the values do not vary.

    Example:
        >>> [round(bound, 4) for bound in t_interval([1, 2, 3])]
        [2.0, -0.4841, 4.4841, 3]
    """
    found = student(values)
    return found and found.interval(level)


def paired(high: Sequence[float], low: Sequence[float]) -> Student | None:
    """The mean of d_i = high_i - low_i, by the paired t test over n pairs; None for n < 2.

    Raises:
        ValueError: the two are not of one length.

    Example:
        >>> [round(bound, 4) for bound in paired([3, 4, 5], [2, 2, 2]).interval()]
        [2.0, -0.4841, 4.4841, 3]
    """
    return student([above - below for above, below in zip(high, low, strict=True)])


def welch(high: Sequence[float], low: Sequence[float]) -> Student | None:
    """mean(high) - mean(low) of unpaired samples of unequal variance, by Welch's t test; None if either has n < 2.

    With v = s^2/n of each sample the standard error is sqrt(v_1 + v_2) and the degrees of freedom are
    (v_1 + v_2)^2 / (v_1^2/(n_1 - 1) + v_2^2/(n_2 - 1)).

    Source: Welch, The generalization of "Student's" problem, Biometrika 1947.

    Example:
        >>> [round(bound, 4) for bound in welch([2, 3, 4], [1, 2, 3]).interval()]  # 2.7764 * 0.8165
        [1.0, -1.267, 3.267, 3]
    """
    above, below = student(high), student(low)
    if above is None or below is None:
        return None
    first, second = above.error, below.error
    larger = max(first, second) or 1.0
    shares = (first / larger) ** 2, (second / larger) ** 2  # of the larger: squares of small errors vanish
    parts = shares[0] ** 2 / (len(high) - 1) + shares[1] ** 2 / (len(low) - 1)
    freedom = sum(shares) ** 2 / parts if parts else len(high) + len(low) - 2
    return Student(above.estimate - below.estimate, math.hypot(first, second), freedom, min(len(high), len(low)))


def quantile(values: Sequence[float], probability: float) -> float | None:
    """The linearly interpolated quantile, numpy's default (Hyndman and Fan's type 7); None for no values.

    Example:
        >>> quantile([4, 1, 3, 2], 0.25)
        1.75
    """
    if not values:
        return None
    ordered = sorted(values)
    position = probability * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    share, gap = position - below, ordered[above] - ordered[below]
    if math.isinf(gap):  # of values near the largest float
        return (1 - share) * ordered[below] + share * ordered[above]
    return ordered[below] + share * gap


def median_quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Median, lower and upper quartile; None for no values.

    Example:
        >>> median_quartiles([1, 2, 3, 4])
        (2.5, 1.75, 3.25)
    """
    found = [quantile(values, probability) for probability in (0.5, 0.25, 0.75)]
    middle, lower, upper = found
    return None if middle is None or lower is None or upper is None else (middle, lower, upper)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: of m in ascending order max over j <= i of (m - j + 1) p_(j), at most 1.

    Rejecting those of at most alpha keeps the chance of any false rejection among the m at alpha.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def conjunction(p_values: Sequence[float], needed: int) -> float:
    """The p-value of "at least `needed` of these m are true": (m - needed + 1) p_(needed), at most 1.

    For all of them that is the largest p-value, for one of them Bonferroni's m times the smallest; valid however the
    p-values depend on each other.

    Source: Benjamini and Heller, Screening for partial conjunction hypotheses, Biometrics 2008.

    Example:
        >>> [conjunction([0.01, 0.02, 0.2], needed) for needed in (1, 2, 3)]
        [0.03, 0.04, 0.2]
    """
    return min(1.0, (len(p_values) - needed + 1) * sorted(p_values)[needed - 1])
