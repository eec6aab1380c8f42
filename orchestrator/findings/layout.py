"""A table as a grid of texts: what the formats for people (text, Markdown, LaTeX, HTML) have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.findings.levels import level_text, short_names
from orchestrator.findings.notation import NOTHING, SENTENCES, cell_text, metric_label, published_text

if TYPE_CHECKING:
    from orchestrator.store import Scalar
    from orchestrator.tables import Cell, Levels, Table

MARKS = "†‡§¶"


@dataclass(frozen=True)
class Grid:
    """Texts, unescaped.

    Attributes:
        stub: Names of the row axes.
        header: For each column its texts from the outermost level inwards; all of one length.
        labels: For each row its levels.
        body: For each row and column the text and its footnote mark ("" for none).
        notes: (mark, text); remarks on the whole table have the mark "".
        bold: (row, column) of the body.
    """

    caption: str
    stub: tuple[str, ...]
    header: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, ...], ...]
    body: tuple[tuple[tuple[str, str], ...], ...]
    notes: tuple[tuple[str, str], ...]
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class _Column:
    """One printed column: a column of the table, ours or the published values."""

    index: int
    is_paper: bool
    header: tuple[str, ...]


def lay_out(table: Table) -> Grid:
    """The grid of a table; a function of the table alone."""
    short = short_names((*table.rows, *table.columns, *table.pooled))
    counts = {cell.n for row in table.cells for cell in row if cell.n}
    remarks = list(dict.fromkeys(cell.remark for row in table.cells for cell in row if cell.remark))
    marks = {remark: mark(index) for index, remark in enumerate(remarks)} | {"": ""}
    columns = tuple(_columns(table, short))
    body = tuple(
        tuple(_entry(row[column.index], column, table, marks, len(counts) > 1) for column in columns)
        for row in table.cells
    )
    return Grid(
        caption=_caption(table, counts, short),
        stub=tuple(short[axis] for axis in table.rows),
        header=tuple(column.header for column in columns),
        labels=tuple(tuple(level_text(level) for level in levels) for levels in table.row_labels),
        body=body,
        notes=tuple((marks[remark], remark) for remark in remarks) + tuple(("", note) for note in table.notes),
        bold=frozenset(
            (row, place)
            for place, column in enumerate(columns)
            for row in range(len(table.cells))
            if (row, column.index) in table.bold and not column.is_paper
        ),
    )


def spans(header: Sequence[Sequence[str]], level: int) -> Iterator[tuple[int, int, str]]:
    """(first column, number of columns, text) of one header level: neighbours that agree down to it are one span."""
    start = 0
    for index in range(1, len(header) + 1):
        if index == len(header) or header[index][: level + 1] != header[start][: level + 1]:
            yield start, index - start, header[start][level]
            start = index


def without_repeats(labels: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Row labels with "" where a level and all before it are those of the row above."""
    shown: list[tuple[str, ...]] = []
    for index, label in enumerate(labels):
        above = labels[index - 1] if index else ()
        same = next((i for i, pair in enumerate(zip(label, above, strict=False)) if pair[0] != pair[1]), len(above))
        shown.append(tuple("" if place < same else text for place, text in enumerate(label)))
    return shown


def mark(index: int) -> str:
    """The footnote marks in turn.

    Example:
        >>> [mark(index) for index in (0, 3, 4)]
        ['†', '¶', '††']
    """
    return MARKS[index % len(MARKS)] * (index // len(MARKS) + 1)


def _columns(table: Table, short: dict[str, str]) -> Iterator[_Column]:
    names_metric = len(table.values) > 1 or not table.columns
    any_paper = any(cell.paper for row in table.cells for cell in row)
    for index, (levels, metric) in enumerate(table.header):
        header = _level_texts(table, levels, short) + ((metric_label(metric),) if names_metric else ())
        yield _Column(index, False, (*header, "ours") if any_paper else header)
        if any(row[index].paper for row in table.cells):
            yield _Column(index, True, (*header, "paper"))


def _level_texts(table: Table, levels: Levels, short: dict[str, str]) -> tuple[str, ...]:
    """Numbers and truth values do not say of what they are: `width=64`; named levels do."""
    return tuple(level_header(short[axis], level) for axis, level in zip(table.columns, levels, strict=True))


def level_header(axis: str, level: Scalar) -> str:
    """A level as a header names it."""
    return level if isinstance(level, str) and level != "null" else f"{axis}={level_text(level)}"


def _entry(cell: Cell, column: _Column, table: Table, marks: dict[str, str], shows_n: bool) -> tuple[str, str]:
    metric = table.header[column.index][1]
    if column.is_paper:
        return (published_text(cell.paper, metric, table.decimals) if cell.paper else NOTHING), ""
    text = cell_text(cell, table.statistic, metric, table.decimals)
    return (f"{text} (n={cell.n})" if shows_n and cell.n else text), marks[cell.remark]


def _caption(table: Table, counts: set[int], short: dict[str, str]) -> str:
    sentence = "single values" if counts == {1} else SENTENCES[table.statistic]
    if len(counts) == 1:
        sentence += f", n={min(counts)}"
    if len(table.values) == 1 and table.columns:
        sentence = f"{metric_label(table.values[0])}: {sentence}"
    else:
        sentence = sentence[0].upper() + sentence[1:]
    title = table.title.strip()
    parts = [title if title.endswith((".", "?", "!")) else f"{title}.", f"{sentence}."]
    if table.pooled:
        over = ", ".join(f"{short[axis]} ({count} levels)" for axis, count in table.pooled.items())
        parts.append(f"Pooled over {over}.")
    if any(cell.paper for row in table.cells for cell in row):
        parts.append("Paper: as published; in brackets ours minus it, in standard errors.")
    if any(cell.residual for row in table.cells for cell in row):
        parts.append("r: the largest residual; |λ|: of an eigenvalue whose sign it does not decide.")
    return " ".join([*parts, table.bold_says]).rstrip()
