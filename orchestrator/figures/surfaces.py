"""Surfaces over a triangle and decision boundaries in the plane."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.figures.chart import Plane, Surface
from orchestrator.figures.style import INK, PAPER, SIDES, SURFACE, colour, mark, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = math.sqrt(3) / 2
LEVELS = 12
FEW = 70  # points of a triangle that are shown one by one


def surface(axes: Axes, item: Surface, limits: tuple[float, float], bar: bool) -> None:
    """Filled contours over the triangle; the corners carry their names; one panel of a row has the bar of colours."""
    from matplotlib.ticker import MaxNLocator

    x = item.weights[:, 1] + item.weights[:, 2] / 2
    y = item.weights[:, 2] * HEIGHT
    low, high = limits
    levels = MaxNLocator(LEVELS).tick_values(*(limits if high > low else (low - 0.5, low + 0.5)))
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.plot([0, 1, 0.5, 0], [0, 0, HEIGHT, 0], color=INK, linewidth=0.9, zorder=4)
    if _spans_a_plane(x, y):
        filled = axes.tricontourf(x, y, item.z, levels=levels, cmap=SURFACE, extend="neither")
        axes.tricontour(x, y, item.z, levels=levels[1:-1:2], colors=PAPER, linewidths=0.5, alpha=0.8)
    else:
        filled = axes.scatter(x, y, c=item.z, cmap=SURFACE, vmin=levels[0], vmax=levels[-1])
    if len(x) <= FEW:
        axes.plot(x, y, linestyle="none", marker=".", markersize=2, color=INK, zorder=3)
    for text, place, above in zip(item.corners, ((0, 0), (1, 0), (0.5, HEIGHT)), (False, False, True), strict=True):
        axes.annotate(
            plain(text), place, xytext=(0, 4 if above else -4), textcoords="offset points", ha="center",
            va="bottom" if above else "top", annotation_clip=False,
        )  # fmt: skip
    axes.set_title(axes.get_title(), pad=16)
    axes.set_ylim(-0.12, HEIGHT + 0.1)
    figure = axes.get_figure()
    if not bar or figure is None:
        return
    figure.colorbar(filled, ax=axes, shrink=0.75, pad=0.04, label=plain(item.z_label))


def _spans_a_plane(x: object, y: object) -> bool:
    """Whether there are three points that are not on one line."""
    import numpy

    return bool(numpy.linalg.matrix_rank(numpy.stack([x, y, numpy.ones(numpy.shape(x))])) == 3)  # pyright: ignore


def plane(axes: Axes, item: Plane) -> None:
    """The two sides, the score's contours, the boundary thick, and the data by class."""
    import numpy

    finite = item.z[numpy.isfinite(item.z)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    edges = [min(low, item.boundary) - 1, item.boundary, max(high, item.boundary) + 1]
    axes.contourf(item.x, item.y, item.z, levels=edges, colors=SIDES)
    if low < item.boundary < high:
        axes.contour(item.x, item.y, item.z, levels=[item.boundary], colors=INK, linewidths=1.6)
    axes.grid(False)
    if item.points is None:
        return
    classes = numpy.zeros(len(item.points)) if item.labels is None else item.labels
    for line, label in enumerate(numpy.unique(classes)):
        own = item.points[classes == label]
        axes.plot(
            own[:, 0], own[:, 1], linestyle="none", marker=mark(line), markersize=4, color=colour(line),
            markeredgecolor=PAPER, markeredgewidth=0.5, label=str(label),
        )  # fmt: skip
