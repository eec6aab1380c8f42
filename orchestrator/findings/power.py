"""How many seeds a claim needs: the power of the tests that judge it, from the spread that was observed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.findings import statistics

if TYPE_CHECKING:
    from orchestrator.findings.medians import Median
    from orchestrator.findings.statistics import Student

POWER = 0.8
MOST = 1000  # seeds; a claim that needs more is at its bound for all that can be computed


def power(effect: float, n: int, alpha: float = (1 - statistics.LEVEL) / 2) -> float:
    """The chance that a one-sided t test of n values at level `alpha` sees a mean `effect` standard deviations away.

    P(T > t_{1 - alpha, n - 1}) of the noncentral t distribution with noncentrality effect * sqrt(n).

    Example:
        >>> round(power(2, 5), 3), round(power(0, 5), 3)
        (0.909, 0.025)
    """
    return _power(effect * math.sqrt(n), n - 1, alpha)


def sentence(n: int) -> str:
    """What so many seeds can show at all.

    Example:
        >>> sentence(5)
        'With 5 seeds a t test sees an effect of two standard deviations with 91 % power, of one with 40 %.'
    """
    two, one = (f"{100 * power(effect, n):.0f} %" for effect in (2, 1))
    return f"With {n} seeds a t test sees an effect of two standard deviations with {two} power, of one with {one}."


def seeds_needed(found: Student | Median, margins: Sequence[float], alpha: float) -> int | None:
    """The smallest number of seeds for which every one-sided test has a chance to see its margin, together `POWER`.

    Args:
        found: What was observed: its standard error is taken to shrink as 1 / sqrt(n).
        margins: How far the estimate lies from each bound that must be excluded.

    Returns:
        None where more than `MOST` are needed.
    """
    if not margins or min(margins) <= 0:
        return None

    def enough(n: int) -> bool:
        error = found.error * math.sqrt(found.n / n)
        freedom = found.freedom * (n - 1) / (found.n - 1)
        missed = sum(1 - _power(margin / error, freedom, alpha) for margin in margins) if error else 0.0
        return 1 - missed >= POWER

    low, high = found.n, MOST
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _power(noncentrality: float, freedom: float, alpha: float) -> float:
    from scipy.special import nctdtr

    found = 1 - float(nctdtr(freedom, min(noncentrality, 30.0), statistics.t_quantile(1 - alpha, freedom)))
    return 1.0 if math.isnan(found) else found
