"""Charts of whole distributions and fields: histograms, surfaces over a triangle, decision boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import NotFound
from orchestrator.figures.chart import Bars, Chart, Panel, Plane, Surface
from orchestrator.figures.series import arranged, label
from orchestrator.figures.source import Source, Trials, pooled, require_axis, scale
from orchestrator.figures.spec import Boundary, Histogram, Simplex
from orchestrator.findings.levels import level_text

if TYPE_CHECKING:
    import numpy


def histogram(spec: Histogram, source: Source) -> Chart:
    """How values are distributed; all lines and panels have the same bins.

    Raises:
        NotFound: the records have no such axis, stage or array.
    """
    place = f"figures.{spec.name}"
    for axis in (*spec.lines, *spec.facets):
        require_axis(source, axis, place)
    trials = Trials.of(source, spec.where, place)
    legend = trials.combinations(spec.lines)
    counted = _counts(spec, trials, place)
    row = []
    for facet, own in trials.split(spec.facets):
        content = {}
        for line, group in own.split(spec.lines):
            edges, counts = counted(group)
            if sum(counts):
                content[legend.index(line)] = Bars(tuple(edges), tuple(_shown(edges, counts, spec.show)))
        row.append(Panel(trials.place(spec.facets, facet), spec.y_label or spec.show, content))
    remarks = trials.remarks([] if spec.stage else [spec.x])
    notes = _pooled_values(spec, trials, row)
    what = spec.edges or spec.x if spec.stage else label(spec.x)
    return Chart(
        name=spec.name,
        title=spec.title or "",
        panels=arranged([row]),
        x_label=spec.x_label or what,
        lines=tuple(trials.text(spec.lines, line) for line in legend) if spec.lines else (),
        notes=tuple([*remarks, *notes]),
        log=spec.log,
    )


def _pooled_values(spec: Histogram, trials: Trials, row: Sequence[Panel]) -> list[str]:
    if not any(panel.content for panel in row):
        return ["No values."]
    own = "A value is a trial's" if spec.stage is None else f"Values of {spec.stage}'s array"
    return [f"{own} {spec.x}.", *pooled(trials, [*spec.lines, *spec.facets])]


_Counted = Callable[[Trials], tuple[Sequence[float], Sequence[float]]]


def _counts(spec: Histogram, trials: Trials, place: str) -> _Counted:
    """What gives the edges and the counts of a group of trials."""
    if spec.stage is not None and spec.edges is not None:
        stage, edges = spec.stage, spec.edges
        return lambda group: _sum_of_counts(group, stage, spec.x, edges, place)
    import numpy

    bins = _edges(spec, _values(spec, trials, place))

    def counted(group: Trials) -> tuple[Sequence[float], Sequence[float]]:
        counts, _ = numpy.histogram(_values(spec, group, place), bins)
        return bins.tolist(), counts.tolist()

    return counted


def _values(spec: Histogram, trials: Trials, place: str) -> numpy.ndarray:
    import numpy

    if spec.stage is None:
        return numpy.array(trials.values(spec.x)[0], float)
    found = [array.ravel().astype(float) for array in _arrays(trials, spec.stage, spec.x, place)]
    values = numpy.concatenate([*found, numpy.empty(0)])
    return values[numpy.isfinite(values)]


def _edges(spec: Histogram, values: numpy.ndarray) -> numpy.ndarray:
    import numpy

    if "x" in spec.log:
        values = values[values > 0]
        if values.size and values.min() < values.max():
            return numpy.geomspace(values.min(), values.max(), spec.bins + 1)
    return numpy.histogram_bin_edges(values, spec.bins)


def _sum_of_counts(
    trials: Trials, stage: str, name: str, edges: str, place: str
) -> tuple[Sequence[float], Sequence[float]]:
    import numpy

    counts, bounds = _arrays(trials, stage, name, place), _arrays(trials, stage, edges, place)
    if not counts:
        return (), ()
    for array, bound in zip(counts, bounds, strict=True):
        if array.shape != (len(bound) - 1,) or not numpy.array_equal(bound, bounds[0]):
            raise NotFound(
                f"{place}: {name} of {stage} must have one count between each two of {edges}, equal for all trials; "
                f"shapes are {array.shape} and {bound.shape}"
            )
    return bounds[0].tolist(), numpy.sum(counts, axis=0).tolist()


def _shown(edges: Sequence[float], counts: Sequence[float], show: str) -> list[float]:
    total = sum(counts)
    if show == "count":
        return [float(count) for count in counts]
    if show == "fraction":
        return [count / total for count in counts]
    return [count / total / (high - low) for count, low, high in zip(counts, edges, edges[1:], strict=False)]


def simplex(spec: Simplex, source: Source) -> Chart:
    """A surface over a triangle; several trials of a panel are averaged point by point.

    Raises:
        NotFound: there is no such axis, stage or array, or an array has the wrong shape.
    """
    place = f"figures.{spec.name}"
    axes = () if spec.stage else spec.weights
    for axis in (*axes, *spec.facets):
        require_axis(source, axis, place)
    trials = Trials.of(source, spec.where, place)
    first, second, third = spec.corners
    row = []
    for facet, own in trials.split(spec.facets):
        weights, z = _of_arrays(spec, own, place) if spec.stage else _of_axes(spec, own, place)
        surface = Surface(weights, z, (first, second, third), spec.y_label or label(spec.z))
        row.append(Panel(trials.place(spec.facets, facet), "", {0: surface} if len(z) else {}))
    notes = [] if spec.stage else pooled(trials, [*axes, *spec.facets])
    counts = sorted({len(own.rows) for _, own in trials.split([*axes, *spec.facets])})
    if counts[-1:] > [1]:
        notes.append(f"Means of up to {counts[-1]} trials.")
    remarks = trials.remarks([] if spec.stage else [spec.z])
    return Chart(
        name=spec.name,
        title=spec.title or "",
        panels=arranged([row]),
        x_label=spec.x_label or "",
        lines=(),
        notes=tuple([*remarks, *notes]),
    )


def _of_axes(spec: Simplex, trials: Trials, place: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    import numpy

    weights, means = [], []
    for levels, group in trials.split(spec.weights):
        found = [float(level) for level in levels if isinstance(level, int | float)]
        if len(found) != len(levels):
            raise NotFound(f"{place}: {', '.join(map(level_text, levels))} are no weights; its axes must hold numbers")
        values, _ = group.values(spec.z)
        if values:
            weights.append([*found, 1 - sum(found)] if len(found) == 2 else found)
            means.append(sum(values) / len(values))
    return _triangle(numpy.array(weights, float).reshape(-1, 3), numpy.array(means, float), place)


def _of_arrays(spec: Simplex, trials: Trials, place: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    import numpy

    stage = spec.stage or ""
    weights, z = _arrays(trials, stage, spec.weights[0], place), _arrays(trials, stage, spec.z, place)
    if not weights:
        return numpy.empty((0, 3)), numpy.empty(0)
    for one, values in zip(weights, z, strict=True):
        if one.ndim != 2 or one.shape[1] != 3 or values.shape != one.shape[:1]:
            raise NotFound(
                f"{place}: {spec.weights[0]} must be of shape (n, 3) and {spec.z} of shape (n,); "
                f"they are {one.shape} and {values.shape}"
            )
    same = [values for one, values in zip(weights, z, strict=True) if numpy.array_equal(one, weights[0])]
    return _triangle(weights[0].astype(float), scale(spec.z) * numpy.mean(same, axis=0), place)


def _triangle(weights: numpy.ndarray, z: numpy.ndarray, place: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Barycentric weights and finite values.

    Raises:
        NotFound: a row of weights does not sum to 1.
    """
    import numpy

    kept = numpy.isfinite(z)
    weights, z = weights[kept], z[kept]
    wrong = numpy.flatnonzero(numpy.abs(weights.sum(axis=1) - 1) > 1e-6)
    if len(wrong):
        raise NotFound(f"{place}: the weights {weights[wrong[0]].tolist()} do not sum to 1")
    return weights, z


def boundary(spec: Boundary, source: Source) -> Chart:
    """A decision boundary, of the first trial of each panel.

    Raises:
        NotFound: there is no such axis, stage or array, or an array has the wrong shape.
    """
    place = f"figures.{spec.name}"
    for axis in spec.facets:
        require_axis(source, axis, place)
    trials = Trials.of(source, spec.where, place)
    row, first_of = [], 0
    for facet, own in trials.split(spec.facets):
        plane = _plane(spec, own, place)
        row.append(Panel(trials.place(spec.facets, facet), spec.y_label or spec.y, {0: plane} if plane else {}))
        first_of = max(first_of, len(own.rows))
    notes = [f"Each panel is the first of up to {first_of} trials."] if first_of > 1 else []
    return Chart(
        name=spec.name,
        title=spec.title or "",
        panels=arranged([row]),
        x_label=spec.x_label or spec.x,
        lines=tuple(f"{spec.labels} = {level_text(label)}" for label in _classes(row)),
        notes=tuple([*trials.remarks([]), *notes]),
    )


def _classes(row: Sequence[Panel]) -> list[int | float | str]:
    """The classes of the data, of all panels."""
    planes = [item for panel in row for item in panel.content.values() if isinstance(item, Plane)]
    return sorted({label for plane in planes if plane.labels is not None for label in plane.labels.tolist()})


def _plane(spec: Boundary, trials: Trials, place: str) -> Plane | None:
    names = [spec.x, spec.y, spec.z, *filter(None, [spec.points, spec.labels])]
    found = {name: next(iter(_arrays(trials, spec.stage, name, place)), None) for name in names}
    x, y, z = (found[name] for name in (spec.x, spec.y, spec.z))
    if x is None or y is None or z is None:
        return None
    if x.ndim != 1 or y.ndim != 1 or z.shape != (len(y), len(x)):
        raise NotFound(
            f"{place}: {spec.x} must be of shape (w,), {spec.y} (h,) and {spec.z} (h, w); "
            f"they are {x.shape}, {y.shape} and {z.shape}"
        )
    points, labels = found.get(spec.points or ""), found.get(spec.labels or "")
    if points is not None and (points.ndim != 2 or points.shape[1] != 2):
        raise NotFound(f"{place}: {spec.points} must be of shape (n, 2); it is {points.shape}")
    if points is not None and labels is not None and labels.shape != points.shape[:1]:
        raise NotFound(f"{place}: {spec.labels} must be of shape {points.shape[:1]}; it is {labels.shape}")
    return Plane(x, y, z, spec.boundary, points, labels)


def _arrays(trials: Trials, stage: str, name: str, place: str) -> list[numpy.ndarray]:
    """The array `name` of each node of the trials that has ended, each node once."""
    keys = trials.source.node_column(stage, place)
    own = dict.fromkeys(keys[row] for row in trials.rows if trials.statuses[row] != "diverged")
    arrays = (trials.source.array(key, name) for key in own if key is not None)
    return [array for array in arrays if array is not None]
