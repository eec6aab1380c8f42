"""A figure as numbers and texts, before anything is drawn: equal charts give equal files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class Mark:
    """A point with its error bars; `lost` trials of it have no value."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    x_low: float | None = None
    x_high: float | None = None
    n: int = 1
    lost: int = 0


@dataclass(frozen=True)
class Series:
    """The marks of one line, in the order of x, and what the paper printed of them.

    Attributes:
        joined: Whether a line goes through the marks.
        shape: How the spread is drawn: bars, band or none.
    """

    marks: tuple[Mark, ...]
    published: tuple[Mark, ...] = ()
    joined: bool = True
    shape: str = "bars"


@dataclass(frozen=True)
class Bars:
    """A histogram's steps: `heights[i]` between `edges[i]` and `edges[i + 1]`."""

    edges: tuple[float, ...]
    heights: tuple[float, ...]


@dataclass(frozen=True)
class Surface:
    """Values over a triangle: `weights` (n, 3), `z` (n,), and what the corners are called."""

    weights: numpy.ndarray
    z: numpy.ndarray
    corners: tuple[str, str, str]
    z_label: str


@dataclass(frozen=True)
class Plane:
    """A score on a grid, where the decision changes, and the data with their classes."""

    x: numpy.ndarray
    y: numpy.ndarray
    z: numpy.ndarray
    boundary: float
    points: numpy.ndarray | None = None
    labels: numpy.ndarray | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes: `content` by the index of its line in `Chart.lines` (0 where there are no lines)."""

    title: str
    y_label: str
    content: Mapping[int, Series | Bars | Surface | Plane]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        panels: In rows; panels of one row share their y axis.
        lines: What the legend calls each line; empty without one.
        ticks: (position, text) along x where x has levels; else None.
        log: The axes with a logarithmic scale: x, y.
        notes: What a reader must know: what bars are, what is left out, what is missing.
    """

    name: str
    title: str
    panels: tuple[tuple[Panel, ...], ...]
    x_label: str
    lines: tuple[str, ...]
    notes: tuple[str, ...]
    ticks: tuple[tuple[float, str], ...] | None = None
    log: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What the figure shows, for those who do not see it."""
        panels = [panel for row in self.panels for panel in row]
        shown = " and ".join(dict.fromkeys(panel.y_label for panel in panels if panel.y_label)) or self.title
        over = f" over {self.x_label}" if self.x_label else ""
        parts = [f"{shown}{over}"]
        if len(panels) > 1:
            parts.append(f"panels: {', '.join(panel.title or panel.y_label for panel in panels)}")
        if self.lines:
            parts.append(f"lines: {', '.join(self.lines)}")
        return "; ".join(parts) + "."
