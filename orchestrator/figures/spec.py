"""What a sweep file says about its figures: one class a kind, and the reading of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from orchestrator.errors import allowed
from orchestrator.sweepfile.axes import Scalar
from orchestrator.sweepfile.comparisons import Known, Statistic, keys_that_are_no_text, paper_beside
from orchestrator.sweepfile.explain import complaints
from orchestrator.sweepfile.problems import Problems
from orchestrator.sweepfile.schema import IS_KEY
from orchestrator.sweepfile.yamlfile import Place, kind

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _listed(value: object) -> object:
    """One name stands for a list of it."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])]
_XY = Literal["x", "y"]
_Logs = Annotated[tuple[_XY, ...], BeforeValidator(_listed, json_schema_input_type=_XY | tuple[_XY, ...])]


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """What every kind has.

    Attributes:
        facets: Axes; a panel for each combination of their levels.
        where: Axis -> level or levels: the trials that are drawn.
    """

    __pydantic_config__ = _STRICT
    AXES: ClassVar[tuple[str, ...]] = ("facets",)
    """The fields that name axes."""

    name: str = field(metadata=IS_KEY)
    title: str | None = None
    facets: _Names = ()
    where: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    x_label: str | None = None
    y_label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Lines(FigureSpec):
    """Metrics over an axis, a line for each combination of the levels of `lines`, with the statistic of a table."""

    AXES = ("x", "lines", "facets")
    kind: Literal["lines"] = "lines"
    x: str
    y: _Names
    lines: _Names = ()
    statistic: Statistic = "mean_std"
    spread: Literal["bars", "band", "none"] = "bars"
    log: _Logs = ()
    paper: str | None = None


@dataclass(frozen=True, kw_only=True)
class Curves(FigureSpec):
    """What nodes logged, over their steps (epochs, for `train`)."""

    AXES = ("lines", "facets")
    kind: Literal["curves"]
    y: _Names
    stage: str | None = None
    lines: _Names = ()
    statistic: Statistic = "mean_std"
    spread: Literal["bars", "band", "none"] = "band"
    log: _Logs = ()


@dataclass(frozen=True, kw_only=True)
class Scatter(FigureSpec):
    """One metric against another: a point for each trial, or, with a statistic, for each combination of levels.

    Attributes:
        along: An axis whose levels, in order, are joined by a line: a bi-criteria curve.
    """

    AXES = ("lines", "facets", "along")
    kind: Literal["scatter"]
    x: str
    y: str
    lines: _Names = ()
    along: str | None = None
    statistic: Statistic | None = None
    log: _Logs = ()


@dataclass(frozen=True, kw_only=True)
class Histogram(FigureSpec):
    """How a metric is distributed over trials, or the values of an array of a stage's nodes.

    Attributes:
        stage: Where x is an array: the stage (or `stage.measure`) that has it.
        edges: The array of bin edges, where x holds counts already.
    """

    AXES = ("lines", "facets")
    kind: Literal["histogram"]
    x: str
    lines: _Names = ()
    stage: str | None = None
    edges: str | None = None
    bins: Annotated[int, Field(gt=0, le=1000)] = 20
    show: Literal["count", "fraction", "density"] = "count"
    log: _Logs = ()


@dataclass(frozen=True, kw_only=True)
class Simplex(FigureSpec):
    """A surface over a triangle, as of three-point interpolation.

    Attributes:
        weights: With a stage its array of shape (n, 3), each row summing to 1; without, two or three axes.
        z: With a stage its array of shape (n,); without, a metric.
        corners: What the three corners are called.
    """

    kind: Literal["simplex"]
    z: str
    weights: _Names = ("weights",)
    stage: str | None = None
    corners: _Names = ("1", "2", "3")


@dataclass(frozen=True, kw_only=True)
class Boundary(FigureSpec):
    """A decision boundary in the plane, from arrays of a node.

    Attributes:
        stage: The stage (or `stage.measure`) whose nodes have the arrays.
        x: The array of the grid's columns, shape (w,); `y` its rows, (h,); `z` the score there, (h, w).
        boundary: The score where the decision changes.
        points: The array of the data, shape (n, 2); `labels` their classes, (n,).
    """

    kind: Literal["boundary"]
    stage: str
    x: str = "x"
    y: str = "y"
    z: str = "z"
    boundary: float = 0.0
    points: str | None = None
    labels: str | None = None


KINDS: dict[str, type[FigureSpec]] = {
    "lines": Lines,
    "curves": Curves,
    "scatter": Scatter,
    "histogram": Histogram,
    "simplex": Simplex,
    "boundary": Boundary,
}


def read_figures(raw: Any, known: Known, problems: Problems) -> dict[str, FigureSpec]:
    """The figures that are right; what is wrong with the others is noted."""
    found: dict[str, FigureSpec] = {}
    for name, value in problems.mapping(("figures",), raw).items():
        place: Place = ("figures", name)
        given = problems.mapping(place, value)
        shape = _shape(given, place, problems)
        wrong = [*keys_that_are_no_text(given, place)]
        for item in wrong:
            problems.add(item, f"expected text as a field's name, got {kind(item[-1])}; quote it")
        if not problems.name(place, name) or shape is None or wrong:
            continue
        figure = _validated(shape, str(name), given, place, problems)
        if figure is not None:
            _check(figure, place, known, problems)
            if isinstance(figure, Lines):
                figure = replace(figure, paper=paper_beside(figure.paper, (*place, "paper"), problems))
            found[str(name)] = figure
    return found


def _shape(given: Mapping[Any, Any], place: Place, problems: Problems) -> type[FigureSpec] | None:
    chosen = given.get("kind", "lines")
    if isinstance(chosen, str) and chosen in KINDS:
        return KINDS[chosen]
    problems.add((*place, "kind"), f"unknown kind {chosen!r}; {allowed(chosen, KINDS)}")
    return None


def _validated(
    shape: type[FigureSpec], name: str, given: Mapping[str, Any], place: Place, problems: Problems
) -> FigureSpec | None:
    if "name" in given:
        problems.add((*place, "name"), "unknown field; the name is the key above")
    named = {**given, "name": "name"}
    try:
        return replace(TypeAdapter(shape).validate_json(json.dumps(named)), name=name)
    except ValidationError as error:
        for complaint in complaints(error, named, shape):
            problems.add((*place, *complaint.path), complaint.message)
    return None


def _check(figure: FigureSpec, place: Place, known: Known, problems: Problems) -> None:
    """What is right by itself but not in this sweep."""
    known.selection(figure.where, (*place, "where"), problems)
    seen: dict[str, str] = {}
    for side, axis in _axes(figure):
        if known.axis(axis, (*place, side), problems) and seen.setdefault(axis, side) != side:
            problems.add((*place, side), f"axis {axis!r} stands in {seen[axis]} already")
    if isinstance(figure, Lines | Curves) and not figure.y:
        problems.add((*place, "y"), "a figure needs at least one metric")
    if isinstance(figure, Histogram) and figure.edges and figure.stage is None:
        problems.add((*place, "edges"), "names an array: `stage` must say whose")
    if isinstance(figure, Simplex):
        _check_simplex(figure, place, known, problems)


def _axes(figure: FigureSpec) -> list[tuple[str, str]]:
    """The axes that a figure names, with the field that names each."""
    found = []
    for side in figure.AXES:
        value = getattr(figure, side)
        found += [(side, axis) for axis in ([value] if isinstance(value, str) else value or ())]
    return found


def _check_simplex(figure: Simplex, place: Place, known: Known, problems: Problems) -> None:
    if len(figure.corners) != 3:
        problems.add((*place, "corners"), f"a triangle has 3 corners; got {len(figure.corners)}")
    if figure.stage is not None and len(figure.weights) != 1:
        problems.add((*place, "weights"), "with a stage it is the name of one array of shape (n, 3)")
    if figure.stage is None:
        if len(figure.weights) not in (2, 3):
            problems.add((*place, "weights"), "without a stage it is two or three axes; `stage` says whose array")
            return
        for axis in figure.weights:
            known.axis(axis, (*place, "weights"), problems)
