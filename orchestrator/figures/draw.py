"""A chart as a matplotlib figure: panels in the middle, title above, legend and notes below, measured so as to fit."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from orchestrator.figures import panels, surfaces
from orchestrator.figures.chart import Chart, Panel, Plane, Series, Surface
from orchestrator.figures.style import FAINT, FONT, INK, colour, dash, mark, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

ALONE = (4.8, 3.0)  # inches of a panel that is alone
BESIDE = (2.9, 2.3)
SQUARE = (2.9, 2.7)
LINE = 1.35 * FONT / 72  # inches of a line of text
MARGIN = 0.06


def draw(chart: Chart) -> Figure:
    """The figure; inside `style.drawing()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = len(chart.panels), max(map(len, chart.panels), default=1)
    width, height = _size(chart)
    figure = Figure(figsize=(width * columns, height * max(rows, 1)), layout="constrained")
    FigureCanvasAgg(figure)
    shown = _axes(figure, chart)
    last = {id(panel) for across in chart.panels for panel in across[-1:]}
    for axes, panel in shown:
        _fill(axes, panel, chart, id(panel) in last)
    _share(chart, [axes for axes, _ in shown])
    panels.fit_ticks(figure, [axes for axes, _ in shown], chart)
    _surround(figure, chart)
    return figure


def _size(chart: Chart) -> tuple[float, float]:
    contents = [item for row in chart.panels for panel in row for item in panel.content.values()]
    count = sum(map(len, chart.panels))
    if any(isinstance(item, Surface | Plane) for item in contents):
        return (4.2, 3.4) if count == 1 else SQUARE
    return ALONE if count == 1 else BESIDE


def _axes(figure: Figure, chart: Chart) -> list[tuple[Axes, Panel]]:
    """A pair of axes for each panel; those of a row share y, all share x."""
    columns = max(map(len, chart.panels), default=1)
    found: list[tuple[Axes, Panel]] = []
    for row, across in enumerate(chart.panels):
        for column, panel in enumerate(across):
            same = next((axes for axes, other in found if other.y_label == panel.y_label), None)
            first = found[0][0] if found else None
            axes = figure.add_subplot(len(chart.panels), columns, row * columns + column + 1, sharex=first, sharey=same)
            axes.set_title(plain(textwrap.fill(panel.title or "", 40)), color=INK)
            if column == 0 or across[column - 1].y_label != panel.y_label:
                axes.set_ylabel(plain(panel.y_label))
            else:
                axes.tick_params(labelleft=False)
            below = row + 1 < len(chart.panels) and column < len(chart.panels[row + 1])
            axes.tick_params(labelbottom=not below)
            if not below:
                axes.set_xlabel(plain(chart.x_label))
            found.append((axes, panel))
    return found


def _fill(axes: Axes, panel: Panel, chart: Chart, last: bool) -> None:
    if not any(not isinstance(item, Series) or item.marks or item.published for item in panel.content.values()):
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "nothing yet", transform=axes.transAxes, ha="center", va="center", color=FAINT)
    for line, item in sorted(panel.content.items()):
        if isinstance(item, Series):
            panels.series(axes, item, line, chart)
        elif isinstance(item, Surface):
            surfaces.surface(axes, item, _range(chart), last)
        elif isinstance(item, Plane):
            surfaces.plane(axes, item)
        else:
            panels.bars(axes, item, line, chart)


def _range(chart: Chart) -> tuple[float, float]:
    """The values of all surfaces: their colours mean the same in every panel."""
    contents = [item for row in chart.panels for panel in row for item in panel.content.values()]
    found = [item.z for item in contents if isinstance(item, Surface)]
    return min(float(z.min()) for z in found), max(float(z.max()) for z in found)


def _share(chart: Chart, axes: list[Axes]) -> None:
    if axes:
        panels.scales(axes[0], chart)
        for other in axes[1:]:
            panels.scales(other, chart)


def _surround(figure: Figure, chart: Chart) -> None:
    """Title, legend and notes; the figure grows by what they take."""
    width, height = figure.get_size_inches()
    letters = int(width * 72 / (0.56 * FONT))
    title = textwrap.wrap(chart.title, int(letters * 0.92)) if chart.title else []
    notes = [line for note in chart.notes for line in textwrap.wrap(note, int(letters * 1.08))]
    legend = _legend(figure, chart)
    above = len(title) * LINE * 1.12 + (2 * MARGIN if title else 0)
    under = len(notes) * LINE * 0.95 + (2 * MARGIN if notes else 0)
    between = 0.0
    if legend is not None:
        between = legend.get_window_extent(figure.canvas.get_renderer()).height / figure.dpi + MARGIN  # pyright: ignore
    total = height + above + between + under
    figure.set_size_inches(width, total)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, (under + between) / total, 1, height / total), w_pad=MARGIN, h_pad=MARGIN)
    if legend is not None:
        legend.set_bbox_to_anchor((0.5, under / total), transform=figure.transFigure)
    left = MARGIN / width
    figure.text(
        left, 1 - MARGIN / total, plain("\n".join(title)), va="top", weight="bold", size=FONT + 0.5, linespacing=1.2
    ).set_in_layout(False)
    figure.text(
        left, (under - MARGIN) / total, plain("\n".join(notes)), va="top", size=FONT - 1, color=FAINT, linespacing=1.25
    ).set_in_layout(False)


def _legend(figure: Figure, chart: Chart) -> Legend | None:
    """As many columns as fit."""
    from matplotlib.lines import Line2D

    contents = [item for row in chart.panels for panel in row for item in panel.content.values()]
    series = [item for item in contents if isinstance(item, Series)]
    marked = bool(series) or any(isinstance(item, Plane) for item in contents)
    joined = any(item.joined for item in series) or not marked
    handles: list[Line2D] = []
    labels: list[str] = []
    for line, label in enumerate(chart.lines):
        style = dash(line) if joined else "none"
        handles.append(Line2D([], [], color=colour(line), linestyle=style, marker=mark(line) if marked else "none"))
        labels.append(_spoken(label))
    if any(item.published for item in series):
        handles.append(Line2D([], [], color=INK, linestyle="none", marker="D", markersize=6.5, markerfacecolor="none"))
        labels.append("as published")
    if not handles:
        return None
    room = figure.get_size_inches()[0] * figure.dpi
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(
            handles, labels, loc="lower center", ncols=columns, handlelength=3.2, columnspacing=1.6, borderaxespad=0.2
        )
        legend.set_in_layout(False)
        extent = legend.get_window_extent(figure.canvas.get_renderer())  # pyright: ignore[reportAttributeAccessIssue]
        if extent.width <= room or columns == 1:
            return legend
        legend.remove()
    return None


def _spoken(label: str) -> str:
    """Matplotlib leaves out what begins with an underscore; long ones are broken."""
    shown = plain("\n".join(textwrap.wrap(label, 60)) or " ")
    return f"\u200a{shown}" if shown.startswith("_") else shown
