"""What stands in a panel: lines with their spread, steps of a histogram; scales and ticks that do not collide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from orchestrator.figures.chart import Bars, Chart, Mark, Series
from orchestrator.figures.style import PAPER, colour, dash, mark, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MANY = 25  # marks of a line; of more, only some are drawn
DODGE = 0.07  # between the lines of one named level
MAX_TICKS = 9


def series(axes: Axes, item: Series, line: int, chart: Chart) -> None:
    """A line with its spread, hollow marks where values are missing, and what the paper printed."""
    shift = (line - (max(len(chart.lines), 1) - 1) / 2) * DODGE if named(chart) else 0.0
    x = [mark.x + shift for mark in item.marks]
    y = [mark.y for mark in item.marks]
    style: dict[str, Any] = {"color": colour(line), "linestyle": dash(line) if item.joined else "none"}
    every = max(1, len(x) // 8)
    symbols: dict[str, Any] = {"marker": mark(line), "markevery": (line % every, every) if len(x) > MANY else 1}
    if item.shape == "band":
        _band(axes, item.marks, x, line)
    if item.shape == "bars":
        _error_bars(axes, item.marks, x, line)
    axes.plot(x, y, **style, **symbols, markeredgecolor=colour(line), zorder=3)
    hollow = [index for index, found in enumerate(item.marks) if found.lost]
    if hollow:
        axes.plot(
            [x[index] for index in hollow],
            [y[index] for index in hollow],
            linestyle="none",
            marker=mark(line),
            color=colour(line),
            markerfacecolor=PAPER,
            zorder=4,
        )
    if item.published:
        _published(axes, item.published, shift, line)


def _error_bars(axes: Axes, marks: Sequence[Mark], x: Sequence[float], line: int) -> None:
    up = [_reach(found.y, found.low, found.high) for found in marks]
    across = [_reach(found.x, found.x_low, found.x_high) for found in marks]
    if not marks:
        return
    axes.errorbar(
        x,
        [found.y for found in marks],
        yerr=list(zip(*up, strict=True)),
        xerr=list(zip(*across, strict=True)) if any(found.x_low is not None for found in marks) else None,
        linestyle="none",
        color=colour(line),
        elinewidth=1,
        zorder=2,
    )


def _reach(center: float, low: float | None, high: float | None) -> tuple[float, float]:
    """How far the bounds are below and above the centre; never less than 0, whatever rounding does."""
    return (0.0 if low is None else max(0.0, center - low), 0.0 if high is None else max(0.0, high - center))


def _band(axes: Axes, marks: Sequence[Mark], x: Sequence[float], line: int) -> None:
    low = [found.y if found.low is None else found.low for found in marks]
    high = [found.y if found.high is None else found.high for found in marks]
    axes.fill_between(x, low, high, color=colour(line), alpha=0.16, linewidth=0, zorder=1)
    for edge in (low, high):
        axes.plot(x, edge, color=colour(line), linewidth=0.5, linestyle=dash(line), alpha=0.7, zorder=1)


def _published(axes: Axes, marks: Sequence[Mark], shift: float, line: int) -> None:
    axes.errorbar(
        [found.x + shift + (DODGE / 2 if shift else 0) for found in marks],
        [found.y for found in marks],
        yerr=list(zip(*(_reach(found.y, found.low, found.high) for found in marks), strict=True)),
        linestyle="none",
        marker="D",
        markersize=7,
        markerfacecolor="none",
        markeredgewidth=1.1,
        color=colour(line),
        elinewidth=0.8,
        zorder=5,
    )


def bars(axes: Axes, item: Bars, line: int, chart: Chart) -> None:
    """The outline of a histogram over a light filling."""
    from matplotlib.ticker import MaxNLocator

    axes.stairs(item.heights, item.edges, fill=True, color=colour(line), alpha=0.15 if chart.lines else 0.35)
    axes.stairs(item.heights, item.edges, color=colour(line), linestyle=dash(line), linewidth=1.5)
    if "y" not in chart.log and all(height.is_integer() for height in item.heights):  # counts
        axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))


def named(chart: Chart) -> bool:
    """Whether x has named levels, side by side, and not numbers."""
    return chart.ticks is not None and not all(_is_number(text) for _, text in chart.ticks)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def scales(axes: Axes, chart: Chart) -> None:
    """Logarithmic where asked; with zero among the levels the part below the least of them is linear."""
    from matplotlib.ticker import MaxNLocator

    drawn = [other.dataLim for other in axes.figure.axes]  # with nothing above zero there is no logarithm
    if "y" in chart.log and any(math.isfinite(limits.minposy) for limits in drawn):
        axes.set_yscale("log", nonpositive="mask")
        _plain_numbers(axes.yaxis)
    if "x" not in chart.log:
        if named(chart) and chart.ticks:
            axes.set_xlim(-0.5, len(chart.ticks) - 0.5)
        elif _whole(chart):
            axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        return
    if not any(math.isfinite(limits.minposx) for limits in drawn):
        return
    positive = [place for place, _ in chart.ticks or () if place > 0]
    if any(place <= 0 for place, _ in chart.ticks or ()) and positive:
        axes.set_xscale("symlog", linthresh=min(positive), linscale=0.4)
    else:
        axes.set_xscale("log", nonpositive="mask")
    _plain_numbers(axes.xaxis)


def _whole(chart: Chart) -> bool:
    """Whether every x is a whole number, such as an epoch."""
    contents = [item for row in chart.panels for panel in row for item in panel.content.values()]
    marks = [mark for item in contents if isinstance(item, Series) for mark in item.marks]
    return bool(marks) and all(mark.x.is_integer() for mark in marks)


def _plain_numbers(axis: Axis) -> None:
    """0.01, 0.02, 0.05 ... over few decades, 1e-4, 1e-3 ... over many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else math.inf
    subs = tuple(map(float, range(1, 10))) if decades < 1 else (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=9))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))


def power(value: float) -> str:
    """A tick of a logarithmic axis.

    Example:
        >>> power(0.05), power(2000.0), power(1e-5), power(2e6)
        ('0.05', '2000', '10⁻⁵', '2·10⁶')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if float(mantissa) == 1 else f"{float(mantissa):g}·10{raised}"


def fit_ticks(figure: Figure, shown: Sequence[Axes], chart: Chart) -> None:
    """Ticks at the levels where they fit; names that would collide are turned, numbers left to matplotlib."""
    if not chart.ticks:
        return
    if not named(chart) and len(chart.ticks) > MAX_TICKS:
        return
    before = [(axes, axes.xaxis.get_major_locator(), axes.xaxis.get_major_formatter()) for axes in shown[:1]]
    for axes in shown:
        axes.set_xticks([place for place, _ in chart.ticks], [plain(text) for _, text in chart.ticks])
        axes.minorticks_off() if "x" in chart.log else None
    figure.draw_without_rendering()
    if not any(_collide(figure, axes) for axes in shown):
        return
    if not named(chart):
        for axes, locator, formatter in before:
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(formatter)
        return
    for axes in shown:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + len(chart.panels) * max(_label_height(figure, axes) for axes in shown))


def _label_height(figure: Figure, axes: Axes) -> float:
    """Inches that the tick labels take more than one line does."""
    renderer = figure.canvas.get_renderer()  # pyright: ignore[reportAttributeAccessIssue]
    heights = [label.get_window_extent(renderer).height for label in axes.get_xticklabels()]
    return max(0.0, max(heights, default=0.0) / figure.dpi - 0.15)


def _collide(figure: Figure, axes: Axes) -> bool:
    renderer = figure.canvas.get_renderer()  # pyright: ignore[reportAttributeAccessIssue]
    extents = [label.get_window_extent(renderer) for label in axes.get_xticklabels() if label.get_visible()]
    ordered = sorted(extents, key=lambda box: box.x0)
    return any(left.x1 + 3 > right.x0 for left, right in pairwise(ordered))
