"""Numbers as a paper prints them: accuracies in percent with two decimals, others to their uncertainty's digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.findings.published import Published
    from orchestrator.tables import Cell

NOTHING = "–"
MOST_DIGITS = 6  # of a number, however small its uncertainty
SENTENCES = {
    "mean_std": "mean ± sample standard deviation",
    "mean_se": "mean ± standard error",
    "mean_ci": "mean ± half width of the 95 % t interval",
    "mean_min_max": "mean [minimum, maximum]",
    "median_iqr": "median [lower quartile, upper quartile]",
}
BOUNDED = frozenset({"mean_min_max", "median_iqr"})


def is_fraction(metric: str) -> bool:
    """Whether a metric is a fraction of 1 that papers print in percent: accuracies."""
    return metric.endswith("accuracy")


def metric_label(metric: str) -> str:
    """A metric as a header names it.

    Example:
        >>> metric_label("test_accuracy")
        'test_accuracy (%)'
    """
    return f"{metric} (%)" if is_fraction(metric) else metric


def plus_minus(center: float, spread: float | None, metric: str) -> str:
    """A value with its spread.

    Example:
        >>> plus_minus(0.95316, 0.00104, "test_accuracy"), plus_minus(19.2114, 0.3456, "norm")
        ('95.32 ± 0.10', '19.21 ± 0.35')
        >>> plus_minus(1.2345e-7, 2e-9, "loss"), plus_minus(5.0, None, "rank"), plus_minus(0.123456, 0.0, "loss")
        ('(1.235 ± 0.020)e-7', '5', '0.1235 ± 0')
    """
    if spread is None:
        return _alone(center, metric)
    if spread == math.inf:  # of values beyond 1e307
        return f"{_alone(center, metric)} ± ∞"
    if spread == 0 and not is_fraction(metric):
        return f"{_alone(center, metric)} ± 0"
    if not is_fraction(metric) and spread < 1e-8 * abs(center):
        return f"{_alone(center, metric)} ± {spread:.1e}"
    (first, second), exponent = _to_uncertainty([center, spread], spread, metric)
    return f"({first} ± {second}){exponent}" if exponent else f"{first} ± {second}"


def with_bounds(center: float, low: float, high: float, metric: str) -> str:
    """A value with two bounds.

    Example:
        >>> with_bounds(0.5, 0.25, 0.75, "accuracy"), with_bounds(2.0, 1.0, 5.0, "norm")
        ('50.00 [25.00, 75.00]', '2.0 [1.0, 5.0]')
    """
    if (low == high or math.isinf(high - low)) and not is_fraction(metric):
        return f"{_alone(center, metric)} [{_alone(low, metric)}, {_alone(high, metric)}]"
    texts, exponent = _to_uncertainty([center, low, high], (high - low) / 2, metric)
    return "{} [{}, {}]".format(*(f"{text}{exponent}" for text in texts))


def cell_text(cell: Cell, statistic: str, metric: str, decimals: int | None = None) -> str:
    """What a cell shows, without its footnote; bounds only where two values are behind them.

    An eigenvalue has the largest residual behind it, and bars for a sign that this does not decide.
    """
    if cell.mean is None:
        return NOTHING
    residual = cell.residual
    if residual is None:
        return _statistic(cell, statistic, metric, decimals)
    if not residual.signed:
        return f"|{_magnitude(cell.mean, decimals, metric)}| (r {residual.largest:.0e})"
    return f"{_statistic(cell, statistic, metric, decimals)} (r {residual.largest:.0e})"


def _statistic(cell: Cell, statistic: str, metric: str, decimals: int | None) -> str:
    assert cell.mean is not None
    bounded = statistic in BOUNDED and cell.n > 1 and cell.low is not None and cell.high is not None
    if decimals is not None:
        bounds = f" [{_fixed(cell.low, metric, decimals)}, {_fixed(cell.high, metric, decimals)}]" if bounded else ""
        return f"{_with_decimals(cell.mean, cell.spread, metric, decimals)}{bounds}"
    if bounded and cell.low is not None and cell.high is not None:
        return with_bounds(cell.mean, cell.low, cell.high, metric)
    return plus_minus(cell.mean, cell.spread, metric)


def _magnitude(value: float, decimals: int | None, metric: str) -> str:
    return _alone(abs(value), metric) if decimals is None else _fixed(abs(value), metric, decimals)


def published_text(paper: Published, metric: str, decimals: int | None = None) -> str:
    """The published value, and ours minus it in standard errors where that is known."""
    if decimals is not None:
        text = _with_decimals(paper.value, paper.spread, metric, decimals)
    elif paper.spread is None:
        text = as_stated(paper.value, metric)
    else:
        text = plus_minus(paper.value, paper.spread, metric)
    if paper.difference is None:
        return text
    return f"{text} ({paper.difference:+.{1 if abs(paper.difference) < 10 else 0}f} s.e.)"


def _with_decimals(center: float, spread: float | None, metric: str, decimals: int) -> str:
    after = "" if spread is None else f" ± {_fixed(spread, metric, decimals)}"
    return f"{_fixed(center, metric, decimals)}{after}"


def _fixed(value: float | None, metric: str, decimals: int) -> str:
    return NOTHING if value is None else f"{(100 if is_fraction(metric) else 1) * value:.{decimals}f}"


def _alone(value: float, metric: str) -> str:
    """A number without uncertainty: whole numbers as they are, others to four digits."""
    if is_fraction(metric):
        return f"{100 * value:.2f}"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 6:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.{max(0, 3 - size)}f}"


def as_stated(value: float, metric: str) -> str:
    """A number that somebody wrote, such as a bound or a published value: with the digits it has, and no more.

    Example:
        >>> as_stated(0.0061, "loss"), as_stated(8e-5, "loss"), as_stated(15.0, "norm"), as_stated(0.9, "accuracy")
        ('0.0061', '8e-5', '15', '90.00')
    """
    if is_fraction(metric) or (value == int(value) and abs(value) < 1e15):
        return _alone(value, metric)
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _to_uncertainty(values: list[float], uncertainty: float, metric: str) -> tuple[list[str], str]:
    """The values with as many decimals as two digits of the uncertainty take, and their common exponent ("" for 0)."""
    if is_fraction(metric):
        return [f"{100 * value:.2f}" for value in values], ""
    size = math.floor(math.log10(max(abs(value) for value in values)))
    exponent = 0 if -4 <= size < 6 else size
    scaled = [value / 10.0**exponent for value in values]
    rounded = float(f"{uncertainty / 10.0**exponent:.1e}")
    finest = max(0, MOST_DIGITS - 1 - size + exponent)  # seeds that agree to the last bit tell no more
    decimals = min(finest, max(0, 1 - math.floor(math.log10(rounded))))
    return [f"{value:.{decimals}f}" for value in scaled], f"e{exponent}" if exponent else ""


def bound_text(value: float, metric: str, difference: bool) -> str:
    """A bound with its unit: accuracies in percent, their differences in points.

    Example:
        >>> bound_text(0.15, "test_accuracy", difference=True), bound_text(0.9, "test_accuracy", difference=False)
        ('15.00 points', '90.00 %')
    """
    return as_stated(value, metric) + _unit(metric, difference)


def interval_text(center: float, low: float | None, high: float | None, metric: str, difference: bool) -> str:
    """An estimate, with its interval where there is one.

    Example:
        >>> interval_text(0.1725, 0.158, 0.187, "test_accuracy", True)
        '17.25 [15.80, 18.70] points'
    """
    if low is None or high is None:
        return _alone(center, metric) + _unit(metric, difference)
    return with_bounds(center, low, high, metric) + _unit(metric, difference)


def _unit(metric: str, difference: bool) -> str:
    if not is_fraction(metric):
        return ""
    return " points" if difference else " %"
