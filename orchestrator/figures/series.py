"""Charts of lines: metrics over an axis, what nodes logged over their steps, one metric against another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator import tables
from orchestrator.figures.chart import Chart, Mark, Panel, Series
from orchestrator.figures.source import NODE, Source, Trials, pooled, require_axis, scale
from orchestrator.figures.spec import Curves, Lines, Scatter
from orchestrator.findings import published
from orchestrator.findings.levels import level_text
from orchestrator.findings.notation import BOUNDED, SENTENCES, metric_label
from orchestrator.findings.published import Paper
from orchestrator.sweepfile.axes import SEED, Scalar


def lines(spec: Lines, source: Source) -> Chart:
    """Metrics over an axis.

    Raises:
        NotFound: the records have no such axis, or the file of published values is not there.
        SpecError: that file is wrong.
    """
    place = f"figures.{spec.name}"
    for axis in (spec.x, *spec.lines, *spec.facets):
        require_axis(source, axis, place)
    trials = Trials.of(source, spec.where, place)
    positions, ticks = _positions(trials, spec.x)
    paper = published.read(source.folder / spec.paper, source.axes, spec.y) if spec.paper else None

    def content(metric: str, own: Trials) -> Series:
        at = {levels[0]: group.values(metric) for levels, group in own.split([spec.x])}
        marks = [
            summary(values, spec.statistic, positions[level], lost) for level, (values, lost) in at.items() if values
        ]
        printed = _published(paper, own, spec.x, metric, positions) if paper else ()
        return Series(tuple(sorted(marks, key=lambda mark: mark.x)), printed, True, spec.spread)

    panels, legend = _panels(spec, spec.y, trials, content)
    named = bool(ticks) and not all(isinstance(level, int | float) for level in positions)
    notes = _notes(spec.statistic, spec.spread, panels) + pooled(trials, [spec.x, *spec.lines, *spec.facets])
    logs = tuple(side for side in spec.log if not (side == "x" and named))
    notes += _scale_notes(logs, panels, ticks)
    return Chart(
        name=spec.name,
        title=spec.title or "",
        panels=panels,
        x_label=spec.x_label or source.short[spec.x].replace("_", " "),
        lines=legend,
        notes=tuple([*trials.remarks(spec.y), *notes]),
        ticks=ticks,
        log=logs,
    )


def curves(spec: Curves, source: Source) -> Chart:
    """What nodes logged, over their steps; a trial whose node has not ended is not drawn yet.

    Raises:
        NotFound: the records have no such axis or stage.
    """
    place = f"figures.{spec.name}"
    for axis in (*spec.lines, *spec.facets):
        require_axis(source, axis, place)
    if spec.stage is not None:
        source.node_column(spec.stage, place)
    trials = Trials.of(source, spec.where, place)
    logged = _Logged(source, spec)

    def content(name: str, own: Trials) -> Series:
        at: dict[int, list[float]] = defaultdict(list)
        for step, value in logged.of([row for row in own.rows if own.statuses[row] != "diverged"], name):
            at[step].append(scale(name) * value)
        marks = [summary(at[step], spec.statistic, float(step), 0) for step in sorted(at)]
        return Series(tuple(marks), (), True, spec.spread)

    panels, legend = _panels(spec, spec.y, trials, content)
    notes = _notes(spec.statistic, spec.spread, panels)
    if logged.several(trials, [*spec.lines, *spec.facets, SEED]):
        notes += pooled(trials, [*spec.lines, *spec.facets])
    return Chart(
        name=spec.name,
        title=spec.title or "",
        panels=panels,
        x_label=spec.x_label or "epoch",
        lines=legend,
        notes=tuple([*trials.remarks([]), *logged.missing(), *notes, *_scale_notes(spec.log, panels, None)]),
        log=spec.log,
    )


def scatter(spec: Scatter, source: Source) -> Chart:
    """One metric against another.

    Raises:
        NotFound: the records have no such axis.
    """
    place = f"figures.{spec.name}"
    for axis in (*spec.lines, *spec.facets, *filter(None, [spec.along])):
        require_axis(source, axis, place)
    trials = Trials.of(source, spec.where, place)
    inner = [spec.along] if spec.along else []

    def content(metric: str, own: Trials) -> Series:
        if spec.statistic is None:
            marks = [Mark(x, y) for _, group in own.split(inner) for x, y in group.pairs(spec.x, metric)]
            return Series(tuple(marks), (), False, "none")
        groups = [group.pairs(spec.x, metric) for _, group in own.split(inner)]
        return Series(tuple(_cross(pairs, spec.statistic) for pairs in groups if pairs), (), bool(inner), "bars")

    panels, legend = _panels(spec, (spec.y,), trials, content)
    notes = [f"Joined along {source.short[spec.along]}."] if spec.along and spec.statistic else []
    notes += _notes(spec.statistic, "bars", panels) if spec.statistic else ["A point is a trial."]
    if spec.statistic:
        notes += pooled(trials, [*inner, *spec.lines, *spec.facets])
    return Chart(
        name=spec.name,
        title=spec.title or "",
        panels=panels,
        x_label=spec.x_label or label(spec.x),
        lines=legend,
        notes=tuple([*trials.remarks([spec.x, spec.y]), *notes, *_scale_notes(spec.log, panels, None)]),
        log=spec.log,
    )


def summary(values: Sequence[float], statistic: str, x: float, lost: int) -> Mark:
    """Centre and bounds of values at `x`, as a table's cell has them."""
    center, spread, low, high = tables.summary(values, statistic)
    assert center is not None
    if spread is not None and statistic not in BOUNDED:
        low, high = center - spread, center + spread
    return Mark(x, center, low, high, n=len(values), lost=lost)


def _cross(pairs: Sequence[tuple[float, float]], statistic: str) -> Mark:
    across = summary([x for x, _ in pairs], statistic, 0.0, 0)
    up = summary([y for _, y in pairs], statistic, across.y, 0)
    return replace(up, x_low=across.low, x_high=across.high)


def _panels(
    spec: Lines | Curves | Scatter, metrics: Sequence[str], trials: Trials, content: Callable[[str, Trials], Series]
) -> tuple[tuple[tuple[Panel, ...], ...], tuple[str, ...]]:
    """A panel for each metric and facet, a series in it for each line; and the legend."""
    combinations = trials.combinations(spec.lines)
    rows: list[list[Panel]] = []
    for metric in metrics:
        row = []
        for facet, own in trials.split(spec.facets):
            found = {combinations.index(line): content(metric, group) for line, group in own.split(spec.lines)}
            row.append(Panel(trials.place(spec.facets, facet), spec.y_label or label(metric), found))
        rows.append(row)
    legend = tuple(trials.text(spec.lines, line) for line in combinations) if spec.lines else ()
    return arranged(rows), legend


def arranged(rows: Sequence[Sequence[Panel]]) -> tuple[tuple[Panel, ...], ...]:
    """Rows of at most 3 panels: metrics one below the other, or beside each other where each has one panel."""
    if len(rows) > 1 and all(len(row) == 1 for row in rows):
        rows = [[panel for row in rows for panel in row]]
    found = []
    for row in rows:
        wide = 2 if len(row) == 4 else 3
        found += [tuple(row[start : start + wide]) for start in range(0, len(row), wide)]
    return tuple(found)


def label(metric: str) -> str:
    """A metric as an axis is labelled.

    Example:
        >>> label("test_accuracy")
        'test accuracy (%)'
    """
    return metric_label(metric).replace("_", " ")


def _positions(trials: Trials, axis: str) -> tuple[dict[Scalar, float], tuple[tuple[float, str], ...] | None]:
    """Where each level stands along x: numbers where they are, names side by side."""
    levels = [combination[0] for combination in trials.combinations([axis])]
    numbers = [level for level in levels if isinstance(level, int | float) and not isinstance(level, bool)]
    if len(numbers) < len(levels):
        positions: dict[Scalar, float] = {level: float(place) for place, level in enumerate(levels)}
    else:
        positions = {level: float(level) for level in numbers}
    return positions, tuple(sorted((place, level_text(level)) for level, place in positions.items()))


def _published(
    paper: Paper, trials: Trials, axis: str, metric: str, positions: Mapping[Scalar, float]
) -> tuple[Mark, ...]:
    """What the paper printed for the levels of a line; the spread as printed."""
    found = []
    for levels, group in trials.split([axis]):
        line = paper.find(group.fixed(), metric)
        if line is not None:
            value, spread, factor = line.published.value, line.published.spread, scale(metric)
            bounds = (None, None) if spread is None else (factor * (value - spread), factor * (value + spread))
            found.append(Mark(positions[levels[0]], factor * value, *bounds))
    return tuple(sorted(found, key=lambda mark: mark.x))


def _notes(statistic: str, spread: str, panels: Sequence[Sequence[Panel]]) -> list[str]:
    """What a mark stands for, and of how many trials."""
    series = [item for row in panels for panel in row for item in panel.content.values() if isinstance(item, Series)]
    marks = [mark for item in series for mark in item.marks]
    if not marks:
        return []
    counts = sorted({mark.n for mark in marks})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    sentence = SENTENCES[statistic]
    if counts == [1]:
        text = "Single values, n = 1."
    elif spread == "none":
        text = f"{'Median' if statistic == 'median_iqr' else 'Mean'}, {n}."
    else:
        text = f"{spread.capitalize()}: {sentence}, {n}."
    hollow = ["Hollow marks: of fewer values than there are trials."] if any(mark.lost for mark in marks) else []
    return [text, *hollow]


def _scale_notes(
    logs: Sequence[str], panels: Sequence[Sequence[Panel]], ticks: tuple[tuple[float, str], ...] | None
) -> list[str]:
    """What a logarithmic axis cannot show, and where it is not one."""
    series = [item for row in panels for panel in row for item in panel.content.values() if isinstance(item, Series)]
    notes = []
    positive = [place for place, _ in ticks or () if place > 0]
    if "x" in logs and positive and len(positive) < len(ticks or ()):
        notes.append(f"x is logarithmic from {level_text(min(positive))} on, linear below.")
    for side in logs:
        lost = sum(getattr(mark, side) <= 0 for item in series for mark in item.marks)
        if lost and not (side == "x" and ticks):
            said = "1 mark is not shown: it is" if lost == 1 else f"{lost} marks are not shown: they are"
            notes.append(f"{said} not positive, and {side} is logarithmic.")
    return notes


class _Logged:
    """What the nodes of a figure's stage logged; a node that several trials share counts once."""

    def __init__(self, source: Source, spec: Curves) -> None:
        self._source, self._wanted = source, spec.y
        self._values: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)  # by trial and name
        self._stages: dict[str, set[str]] = defaultdict(set)
        table = source.curves(spec.y)
        names = ("meta.trial", "stage", "step", "name", "value")
        columns = [] if table is None else [table[item].to_pylist() for item in names]
        for trial, stage, step, name, value in zip(*columns, strict=True):
            if spec.stage in (None, stage) and value - value == 0:
                self._values[trial, name].append((step, value))
                self._stages[name].add(stage)

    def of(self, rows: Sequence[int], name: str) -> Iterator[tuple[int, float]]:
        """(step, value) of each node of some trials; nothing where the name is several stages'."""
        if len(self._stages[name]) != 1:
            return
        trials, nodes = self._source.column("meta.trial"), self._source.column(f"{NODE}{min(self._stages[name])}")
        for row in {nodes[row]: row for row in reversed(rows)}.values():
            yield from self._values.get((trials[row], name), ())

    def several(self, trials: Trials, axes: Sequence[str]) -> bool:
        """Whether trials that agree in `axes` have different nodes."""
        known = [axis for axis in axes if axis in trials.columns]
        columns = [self._source.column(f"{NODE}{stage}") for stage in set().union(*self._stages.values())]
        return any(
            len({column[row] for row in group.rows} - {None}) > 1
            for _, group in trials.split(known)
            for column in columns
        )

    def missing(self) -> list[str]:
        """What could not be drawn."""
        notes = [f"No node logged {name}." for name in self._wanted if not self._stages[name]]
        return notes + [
            f"{name} is logged by {' and '.join(sorted(stages))}: say which with `stage`."
            for name, stages in self._stages.items()
            if len(stages) > 1
        ]
