"""Where figures get their numbers: the records of a sweep, its curves, and the arrays of its nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import NotFound, allowed
from orchestrator.findings.levels import is_level, level_text, short_names
from orchestrator.findings.notation import is_fraction
from orchestrator.record import AXIS, METRIC, axis_names, metric_names, read_curves
from orchestrator.store import Scalar, Store
from orchestrator.sweepfile.axes import SEED

if TYPE_CHECKING:
    import numpy
    import pyarrow

NODE = "meta.node."
Levels = tuple[Scalar, ...]


@dataclass(frozen=True)
class Source:
    """The records of a sweep, and the store that has its nodes.

    Attributes:
        folder: The files of published values are there.
    """

    records: pyarrow.Table
    store: Store
    name: str
    folder: Path

    @cached_property
    def axes(self) -> list[str]:
        return axis_names(self.records)

    @cached_property
    def short(self) -> dict[str, str]:
        return short_names(self.axes)

    @cached_property
    def metrics(self) -> list[str]:
        return metric_names(self.records)

    @cached_property
    def _columns(self) -> dict[str, Sequence[Any]]:
        return {}

    def column(self, name: str) -> Sequence[Any]:
        """A column of the records; nothing but None where there is none."""
        if name not in self._columns:
            known = name in self.records.column_names
            self._columns[name] = self.records[name].to_pylist() if known else [None] * self.records.num_rows
        return self._columns[name]

    def curves(self, names: Sequence[str]) -> pyarrow.Table | None:
        """What the nodes logged under `names`, a row a value; None if there are no curves."""
        return read_curves(self.store.records_folder(self.name), names)

    def array(self, key: str, name: str) -> numpy.ndarray | None:
        """An array of a node; None if the node is not finished.

        Raises:
            NotFound: the node has no such array.
            Damaged: its file is not what was written.
        """
        outcome = self.store.outcome(key)
        if outcome is None:
            return None
        arrays = self.store.arrays(outcome)
        if name not in arrays:
            raise NotFound(f"node {key} has no array {name!r}; {allowed(name, arrays)}")
        return arrays[name]

    def node_column(self, stage: str, place: str) -> Sequence[str | None]:
        """By trial the key of its node of `stage` (or `stage.part`).

        Raises:
            NotFound: there is no such stage.
        """
        stages = [name.removeprefix(NODE) for name in self.records.column_names if name.startswith(NODE)]
        if stage not in stages:
            raise NotFound(f"{place}: the records have no stage {stage!r}; {allowed(stage, stages)}")
        return self.column(f"{NODE}{stage}")


@dataclass(frozen=True)
class Trials:
    """The trials that a figure draws: their rows in the records, and the level of every axis."""

    source: Source
    rows: tuple[int, ...]
    columns: Mapping[str, Sequence[Scalar]]
    statuses: Sequence[str]

    @classmethod
    def of(cls, source: Source, where: Mapping[str, Any], place: str) -> Trials:
        """Those whose levels `where` names.

        Raises:
            NotFound: the records have no such axis.
        """
        columns = {axis: source.column(f"{AXIS}{axis}") for axis in source.axes}
        for axis in where:
            require_axis(source, axis, place)
        rows = tuple(
            row
            for row in range(source.records.num_rows)
            if all(_among(columns[axis][row], labels) for axis, labels in where.items())
        )
        return cls(source, rows, columns, source.column("status"))

    def combinations(self, axes: Sequence[str]) -> list[Levels]:
        """The combinations of levels that occur, ordered by each axis' levels as the records first have them."""
        orders = [{level: place for place, level in enumerate(dict.fromkeys(self.columns[axis]))} for axis in axes]
        found = dict.fromkeys(self.levels(row, axes) for row in self.rows)
        return sorted(found, key=lambda levels: [order[level] for order, level in zip(orders, levels, strict=True)])

    def levels(self, row: int, axes: Sequence[str]) -> Levels:
        return tuple(self.columns[axis][row] for axis in axes)

    def fixed(self) -> dict[str, Scalar]:
        """The axes of which only one level is drawn."""
        found = {axis: {self.columns[axis][row] for row in self.rows} for axis in self.columns}
        return {axis: next(iter(levels)) for axis, levels in found.items() if len(levels) == 1}

    def split(self, axes: Sequence[str]) -> Iterator[tuple[Levels, Trials]]:
        """The trials of each combination of levels."""
        groups: dict[Levels, list[int]] = {levels: [] for levels in self.combinations(axes)}
        for row in self.rows:
            groups[self.levels(row, axes)].append(row)
        for levels, rows in groups.items():
            yield levels, Trials(self.source, tuple(rows), self.columns, self.statuses)

    def text(self, axes: Sequence[str], levels: Levels) -> str:
        """Levels as a legend has them: numbers say of what they are, names do not."""
        return ", ".join(
            level
            if isinstance(level, str) and level not in ("null", "")
            else f"{self.source.short[axis]} = {level_text(level)}"
            for axis, level in zip(axes, levels, strict=True)
        )

    def place(self, axes: Sequence[str], levels: Levels) -> str:
        """Levels as a panel's title has them."""
        return ", ".join(
            f"{self.source.short[axis]} = {level_text(level)}" for axis, level in zip(axes, levels, strict=True)
        )

    def values(self, metric: str) -> tuple[list[float], int]:
        """Finite values of trials that did not diverge, in percent where papers print percent; how many lack.

        One that is done without it has none to give: what a gathering stage reports stands in its first trial's row.
        """
        column = self._column(metric)
        rows = [row for row in self.rows if column[row] is not None or self.statuses[row] != "done"]
        found = [column[row] for row in rows if self.statuses[row] != "diverged"]
        kept = [scale(metric) * value for value in found if value is not None and value - value == 0]
        return kept, len(rows) - len(kept)

    def pairs(self, first: str, second: str) -> list[tuple[float, float]]:
        """Two metrics of each trial that has both."""
        found = [(self._column(first)[row], self._column(second)[row], self.statuses[row]) for row in self.rows]
        return [
            (scale(first) * x, scale(second) * y)
            for x, y, status in found
            if x is not None and y is not None and status != "diverged" and x - x == 0 and y - y == 0
        ]

    def remarks(self, metrics: Sequence[str]) -> list[str]:
        """What the figure leaves out, and whether it is not whole yet."""
        ended = Counter(self.statuses[row] for row in self.rows)
        notes = [
            f"No trial reports {metric}; {allowed(metric, self.source.metrics)}"
            for metric in metrics
            if metric not in self.source.metrics
        ]
        if not self.rows:
            return [*notes, "No trial has the levels that the figure asks for."]
        parts = [f"{ended[what]} {what}" for what in ("failed", "skipped", "diverged") if ended[what]]
        if parts:
            notes.append(f"Left out: {', '.join(parts)} of {len(self.rows)} trials.")
        if ended["missing"]:
            notes.insert(0, f"PARTIAL: {ended['missing']} of {len(self.rows)} trials are missing.")
        return notes

    def _column(self, metric: str) -> Sequence[float | None]:
        return self.source.column(f"{METRIC}{metric}")


def pooled(trials: Trials, used: Sequence[str]) -> list[str]:
    """Which axes beside the seed the points average over."""
    axes = [axis for axis in trials.columns if axis != SEED and axis not in used and axis not in trials.fixed()]
    counts = [f"{trials.source.short[axis]} ({len(trials.combinations([axis]))} levels)" for axis in axes]
    return [f"Pooled over {', '.join(counts)}."] if counts else []


def require_axis(source: Source, axis: str, place: str) -> None:
    """Raises NotFound if the records have no such axis."""
    if axis not in source.axes:
        raise NotFound(f"{place}: the records have no axis {axis!r}; {allowed(axis, source.axes)}")


def scale(metric: str) -> float:
    """100 for what papers print in percent, else 1."""
    return 100.0 if is_fraction(metric) else 1.0


def _among(level: Scalar, labels: Any) -> bool:
    return any(is_level(level, label) for label in (labels if isinstance(labels, tuple | list) else (labels,)))
