"""The statistics that tables and claims print: pure functions of finite numbers, formulas in the docstrings.

Spreads are those of a sample (ddof=1). What needs two values is None with fewer: one seed has no spread.
Sums are exact (`math.fsum`), so no result depends on the order of the values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate with its confidence interval; n counts the values (or pairs) behind it."""

    estimate: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float]) -> float | None:
    """(1/n) sum x_i; None for no values.

    Example:
        >>> mean([1, 2, 3])
        2.0
    """
    return math.fsum(values) / len(values) if values else None


def std(values: Sequence[float]) -> float | None:
    """Sample standard deviation, sqrt(sum (x_i - mean)^2 / (n - 1)); None for n < 2.

    Example:
        >>> std([1, 2, 3])
        1.0
        >>> std([1]) is None
        True
    """
    if len(values) < 2:
        return None
    center = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - center) ** 2 for value in values) / (len(values) - 1))


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


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """mean -+ t_{(1 + level)/2, n - 1} * standard error; None for n < 2. Of width 0 where the values do not vary.

    Example:
        >>> [round(bound, 4) for bound in t_interval([1, 2, 3])]
        [2.0, -0.4841, 4.4841, 3]
    """
    error = standard_error(values)
    if error is None:
        return None
    return _around(math.fsum(values) / len(values), error, len(values) - 1, len(values), level)


def paired_t(high: Sequence[float], low: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The t interval of the mean of d_i = high_i - low_i, n pairs; None for n < 2.

    Raises:
        ValueError: the two are not of one length.

    Example:
        >>> [round(bound, 4) for bound in paired_t([3, 4, 5], [2, 2, 2])]
        [2.0, -0.4841, 4.4841, 3]
    """
    return t_interval([above - below for above, below in zip(high, low, strict=True)], level)


def welch(high: Sequence[float], low: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The t interval of mean(high) - mean(low) for unpaired samples of unequal variance; None if either has n < 2.

    With v = s^2/n of each sample the standard error is sqrt(v_1 + v_2) and the degrees of freedom are
    (v_1 + v_2)^2 / (v_1^2/(n_1 - 1) + v_2^2/(n_2 - 1)). `n` is that of the smaller sample.

    Source: Welch, The generalization of "Student's" problem, Biometrika 1947.

    Example:
        >>> [round(bound, 4) for bound in welch([2, 3, 4], [1, 2, 3])]  # 4 degrees of freedom, 2.7764 * 0.8165
        [1.0, -1.267, 3.267, 3]
    """
    first, second = standard_error(high), standard_error(low)
    if first is None or second is None:
        return None
    total = first**2 + second**2
    parts = first**4 / (len(high) - 1) + second**4 / (len(low) - 1)
    freedom = total**2 / parts if parts else len(high) + len(low) - 2
    difference = math.fsum(high) / len(high) - math.fsum(low) / len(low)
    return _around(difference, math.sqrt(total), freedom, min(len(high), len(low)), level)


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
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def median_quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Median, lower and upper quartile; None for no values.

    Example:
        >>> median_quartiles([1, 2, 3, 4])
        (2.5, 1.75, 3.25)
    """
    found = [quantile(values, probability) for probability in (0.5, 0.25, 0.75)]
    middle, lower, upper = found
    return None if middle is None or lower is None or upper is None else (middle, lower, upper)


def _around(center: float, error: float, freedom: float, n: int, level: float) -> Interval:
    half = t_quantile((1 + level) / 2, freedom) * error if error else 0.0
    return Interval(center, center - half, center + half, n)
