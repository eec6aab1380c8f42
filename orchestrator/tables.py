"""Records -> the comparison tables of a paper: row axes x column axes x metrics, each cell over the pooled trials.

Nothing is averaged silently: trials that failed, diverged or are missing, and values that are not finite, are left out,
counted in the cell, marked and footnoted; axes pooled beside the seed are named. A table depends on the records alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow

from orchestrator.errors import NotFound, allowed
from orchestrator.findings import published, statistics
from orchestrator.findings.best import best_cells, sentence
from orchestrator.findings.levels import level_array, level_type
from orchestrator.findings.residuals import RESIDUAL, SIGN, Residual, residual
from orchestrator.record import AXIS, METRIC, axis_names, metric_names, partial
from orchestrator.store import Scalar
from orchestrator.sweepfile.axes import SEED

if TYPE_CHECKING:
    import numpy

    from orchestrator.findings.published import Paper, Published
    from orchestrator.spec import TableSpec

Levels = tuple[Scalar, ...]


@dataclass(frozen=True)
class Cell:
    """One metric over the trials of one row and column.

    Attributes:
        mean: The statistic's centre: the mean; the median for `median_iqr`. None without any value.
        spread: What follows the +-; None with fewer than two values, and for statistics with two bounds.
        low: Minimum, lower quartile or lower end of the interval, where the statistic has one; `high` likewise.
        n: How many values are behind it; the others are counted by why they are not.
        n_undefined: Values that are not finite although their trial is done.
        residual: Of eigenvalues, which are not printed without.
    """

    mean: float | None
    spread: float | None
    low: float | None
    high: float | None
    n: int
    n_missing: int = 0
    n_diverged: int = 0
    n_failed: int = 0
    n_undefined: int = 0
    paper: Published | None = None
    residual: Residual | None = None

    @property
    def trials(self) -> int:
        return self.n + self.n_missing + self.n_diverged + self.n_failed + self.n_undefined

    @property
    def remark(self) -> str:
        """Why there are fewer values than trials, "" if there are not."""
        counts = ((self.n_missing, "missing"), (self.n_failed, "failed"), (self.n_diverged, "diverged"))
        parts = [f"{count} {what}" for count, what in counts if count]
        if self.n_undefined:
            parts.append(f"{self.n_undefined} not finite")
        return f"{', '.join(parts)} of {self.trials} trials" if parts else ""


@dataclass(frozen=True)
class Table:
    """A table before it is printed: `cells[row][column]` for `row_labels[row]` and `header[column]`.

    Attributes:
        rows: The row axes; a row label has a level of each.
        columns: The column axes; a header entry has a level of each and a metric.
        pooled: Axes other than the seed that the cells average over, with their number of levels.
        notes: What else a reader must know.
        bold: (row, column) of the best cells, and `bold_says` what best means.
        decimals: How many every number has; None for as many as its uncertainty asks.
    """

    name: str
    title: str
    statistic: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[str, ...]
    row_labels: tuple[Levels, ...]
    header: tuple[tuple[Levels, str], ...]
    cells: tuple[tuple[Cell, ...], ...]
    pooled: Mapping[str, int]
    notes: tuple[str, ...]
    bold: frozenset[tuple[int, int]] = frozenset()
    bold_says: str = ""
    decimals: int | None = None


@dataclass(frozen=True)
class _Group:
    """The values of one cell, and how many trials have none, by the name of the cell's counter."""

    values: numpy.ndarray | Sequence[float] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    residual: Residual | None = None

    def cell(self, statistic: str, paper: Published | None) -> Cell:
        center, spread, low, high = summary(self.values, statistic)
        if paper is not None and statistic != "median_iqr":  # a median has no standard error here
            paper = paper.against(list(self.values))
        return Cell(center, spread, low, high, len(self.values), **self.left_out, paper=paper, residual=self.residual)


def summary(
    values: Sequence[float] | numpy.ndarray, statistic: str
) -> tuple[float | None, float | None, float | None, float | None]:
    """Centre, spread, low and high of finite values, as far as `statistic` has them; all None for no values."""
    if statistic in ("mean_std", "mean_se"):
        center, spread = statistics.mean_and_std(values)
        if spread is not None and statistic == "mean_se":
            spread /= math.sqrt(len(values))
        return center, spread, None, None
    values = [float(value) for value in values]
    if not values:
        return None, None, None, None
    if statistic == "median_iqr":
        middle, lower, upper = statistics.median_quartiles(values) or (None, None, None)
        return middle, None, lower, upper
    if statistic == "mean_min_max":
        return statistics.mean(values), None, min(values), max(values)
    interval = statistics.t_interval(values)
    if interval is None:
        return statistics.mean(values), None, None, None
    return interval.estimate, interval.high - interval.estimate, interval.low, interval.high


def table(spec: TableSpec, records: pyarrow.Table, paper_dir: Path) -> Table:
    """The table that `spec` asks for; `paper_dir` holds its file of published values.

    Levels come in the order in which the records have them, which is the plan's.

    Raises:
        NotFound: the records have no such axis, or the file of published values is not there.
        SpecError: that file is wrong.
    """
    axes = axis_names(records)
    for axis in (*spec.rows, *spec.columns):
        if axis not in axes:
            raise NotFound(f"tables.{spec.name}: the records have no axis {axis!r}; {allowed(axis, axes)}")
    row_labels, row_of = _labels(records, spec.rows)
    column_labels, column_of = _labels(records, spec.columns)
    groups = _groups(spec, records, row_of, column_of)
    header = tuple((column, metric) for column in column_labels for metric in spec.values)
    paper = published.read(paper_dir / spec.paper, axes, spec.values) if spec.paper else None
    placed = _place(paper, spec, row_labels, header) if paper else {}
    cells = tuple(
        tuple(
            groups.get((row, column, metric), _Group()).cell(spec.statistic, placed.get((row, column, metric)))
            for column, metric in header
        )
        for row in row_labels
    )
    pooled = {
        axis: count
        for axis in axes
        if axis != SEED and axis not in (*spec.rows, *spec.columns)
        if (count := len(records[f"{AXIS}{axis}"].unique())) > 1
    }
    return Table(
        spec.name, spec.title or spec.name, spec.statistic, tuple(spec.rows), tuple(spec.columns), tuple(spec.values),
        row_labels, header, cells, pooled, _notes(spec, records, paper, len(placed)),
        best_cells(spec, header, cells), sentence(spec), spec.decimals,
    )  # fmt: skip


def to_arrow(table: Table) -> pyarrow.Table:
    """The table long and at full precision: a row per cell that has trials or a published value."""
    places = [*product(range(len(table.row_labels)), range(len(table.header)))]
    places = [(row, column) for row, column in places if (cell := table.cells[row][column]).trials or cell.paper]
    entries = [(table.row_labels[row], *table.header[column], table.cells[row][column]) for row, column in places]
    columns: dict[str, Any] = {}
    for index, axis in enumerate((*table.rows, *table.columns)):
        labels = [(*row, *column)[index] for row, column, *_ in entries]
        columns[f"{AXIS}{axis}"] = level_array(labels, level_type(labels))
    columns["metric"] = pyarrow.array([metric for *_, metric, _ in entries], pyarrow.string())
    columns["statistic"] = pyarrow.array([table.statistic] * len(entries), pyarrow.string())
    center = "median" if table.statistic == "median_iqr" else "mean"
    for name, attribute in ((center, "mean"), ("spread", "spread"), ("low", "low"), ("high", "high")):
        columns[name] = pyarrow.array([getattr(cell, attribute) for *_, cell in entries], pyarrow.float64())
    for name in ("n", "n_missing", "n_diverged", "n_failed", "n_undefined"):
        columns[name] = pyarrow.array([getattr(cell, name) for *_, cell in entries], pyarrow.int64())
    papers = [cell.paper for *_, cell in entries]
    for name, of_type in (("value", "float64"), ("spread", "float64"), ("statistic", "string"), ("n", "int64")):
        found = [getattr(paper, name) if paper else None for paper in papers]
        columns[f"paper_{name}"] = pyarrow.array(found, pyarrow.type_for_alias(of_type))
    columns["difference_in_se"] = pyarrow.array([paper and paper.difference for paper in papers], pyarrow.float64())
    residuals = [cell.residual for *_, cell in entries]
    if any(residuals):
        columns["largest_residual"] = pyarrow.array([item and item.largest for item in residuals], pyarrow.float64())
        columns["has_sign"] = pyarrow.array([item and item.signed for item in residuals], pyarrow.bool_())
    if table.bold_says:
        columns["best"] = pyarrow.array([place in table.bold for place in places], pyarrow.bool_())
    return pyarrow.table(columns)


def _labels(records: pyarrow.Table, axes: Sequence[str]) -> tuple[tuple[Levels, ...], list[Levels]]:
    """The combinations that occur, ordered by each axis' levels as they first appear; and that of each trial."""
    columns = [records[f"{AXIS}{axis}"].to_pylist() for axis in axes]
    orders = [{level: place for place, level in enumerate(dict.fromkeys(column))} for column in columns]
    of_trial: list[Levels] = list(zip(*columns, strict=True)) if axes else [()] * records.num_rows
    found = dict.fromkeys(of_trial)
    ordered = sorted(found, key=lambda levels: [order[level] for order, level in zip(orders, levels, strict=True)])
    return tuple(ordered), of_trial


_COUNTERS: tuple[str, ...] = ("n_diverged", "n_failed", "n_missing", "n_undefined")


def _groups(
    spec: TableSpec, records: pyarrow.Table, row_of: list[Levels], column_of: list[Levels]
) -> dict[tuple[Levels, Levels, str], _Group]:
    import numpy

    if not records.num_rows:
        return {}
    places: dict[tuple[Levels, Levels], int] = {}
    place_of = numpy.array([places.setdefault(pair, len(places)) for pair in zip(row_of, column_of, strict=True)], int)
    order = numpy.argsort(place_of, kind="stable")
    ends = numpy.cumsum(numpy.bincount(place_of, minlength=len(places))).tolist()
    ended = numpy.array(records["status"].to_pylist(), dtype=object)
    diverged, failed = ended == "diverged", (ended == "failed") | (ended == "skipped")
    done = ended == "done"
    groups: dict[tuple[Levels, Levels, str], _Group] = {}
    for metric in spec.values:
        values, absent = _values(records, metric)
        # One that is done without it has none to give: what a gathering stage reports stands in its first trial's row.
        elsewhere = absent & done & (not absent.all())
        why = numpy.select([diverged, absent & failed, elsewhere, absent, ~numpy.isfinite(values)], [1, 2, 5, 3, 4], 0)
        counts = numpy.bincount(6 * place_of + why, minlength=6 * len(places)).reshape(-1, 6).tolist()
        values, kept = values[order], (why == 0)[order]
        beside = _beside(records, metric, order)
        for (row, column), start, end, count in zip(places, [0, *ends], ends, counts, strict=False):
            own = slice(start, end) if count[0] == end - start else start + numpy.flatnonzero(kept[start:end])
            doubt = residual(*(part[own] for part in beside)) if beside else None
            groups[row, column, metric] = _Group(values[own], dict(zip(_COUNTERS, count[1:5], strict=True)), doubt)
    return groups


def _values(records: pyarrow.Table, metric: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    """A metric of every trial (NaN where it has none), and where it has none."""
    import numpy

    name = f"{METRIC}{metric}"
    if name not in records.column_names or not records.num_rows:
        return numpy.full(records.num_rows, numpy.nan), numpy.ones(records.num_rows, bool)
    column = records[name].cast(pyarrow.float64()).combine_chunks()
    absent = numpy.from_dlpack(column.is_null().cast(pyarrow.uint8())).astype(bool)  # `to_numpy` would load pandas
    values = numpy.frombuffer(column.buffers()[1], float, len(column), 8 * column.offset)
    return numpy.where(absent, numpy.nan, values), absent


def _beside(records: pyarrow.Table, metric: str, order: numpy.ndarray) -> list[numpy.ndarray] | None:
    """The residuals and the signs of a metric that has them, of the trials in that order."""
    if f"{METRIC}{metric}{RESIDUAL}" not in records.column_names:
        return None
    return [_values(records, f"{metric}{name}")[0][order] for name in (RESIDUAL, SIGN)]


def _place(
    paper: Paper, spec: TableSpec, row_labels: Sequence[Levels], header: Sequence[tuple[Levels, str]]
) -> dict[tuple[Levels, Levels, str], Published]:
    axes = (*spec.rows, *spec.columns)
    placed = {}
    for row, (column, metric) in product(row_labels, header):
        if line := paper.find(dict(zip(axes, (*row, *column), strict=True)), metric):
            placed[row, column, metric] = line.published
    return placed


def _notes(spec: TableSpec, records: pyarrow.Table, paper: Paper | None, placed: int) -> tuple[str, ...]:
    reported = metric_names(records)
    if not records.num_rows:
        return ("The sweep has no trials.",)
    notes = [said] if (said := partial(records)) else []
    notes += [f"No trial reports {name}; {allowed(name, reported)}." for name in spec.values if name not in reported]
    if paper and placed < len(paper.lines):
        notes.append(f"{len(paper.lines)} published values, {placed} of them beside a cell.")
    return tuple(notes)
