"""The chart of a figure of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.figures.spec import Boundary, Curves, FigureSpec, Histogram, Lines, Scatter, Simplex

if TYPE_CHECKING:
    from orchestrator.figures.chart import Chart
    from orchestrator.figures.source import Source


def chart(spec: FigureSpec, source: Source) -> Chart:
    """The numbers and texts of a figure; matplotlib is not loaded.

    Raises:
        NotFound: the records lack what it asks for.
    """
    from orchestrator.figures import fields, series

    match spec:
        case Lines():
            return series.lines(spec, source)
        case Curves():
            return series.curves(spec, source)
        case Scatter():
            return series.scatter(spec, source)
        case Histogram():
            return fields.histogram(spec, source)
        case Simplex():
            return fields.simplex(spec, source)
        case Boundary():
            return fields.boundary(spec, source)
    raise TypeError(f"{type(spec).__name__} is no kind of figure")


def inputs(spec: FigureSpec) -> tuple[str, tuple[str, ...]] | None:
    """The stage and its arrays that a figure draws; None for one of the records alone."""
    match spec:
        case Histogram(stage=str(stage)):
            return stage, tuple(filter(None, (spec.x, spec.edges)))
        case Simplex(stage=str(stage)):
            return stage, (*spec.weights, spec.z)
        case Boundary():
            return spec.stage, tuple(filter(None, (spec.x, spec.y, spec.z, spec.points, spec.labels)))
    return None
