"""A table in each of the formats that a terminal, a paper or a program reads; equal tables give equal bytes."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError, allowed
from orchestrator.findings.layout import Grid, lay_out, spans, without_repeats
from orchestrator.tables import to_arrow

if TYPE_CHECKING:
    from orchestrator.tables import Table

FORMATS = ("text", "markdown", "csv", "json", "latex", "html")
WIDTH = 100
GAP = 2


def render(table: Table, format: str = "text", width: int = WIDTH) -> str:
    """The table as text that ends with one newline; `width` in terminal cells bounds the format `text` only.

    Raises:
        SweepError: no such format.
    """
    from orchestrator.findings import markup

    if format == "csv":
        return to_csv(table)
    if format == "json":
        return to_json(table)
    formats = {"text": lambda grid: text(grid, width), "markdown": markdown, "latex": markup.latex, "html": markup.html}
    if format not in formats:
        raise SweepError(f"format {format!r}; {allowed(format, FORMATS)}; parquet is written by `tables.to_arrow`")
    return formats[format](lay_out(table))


def to_csv(table: Table) -> str:
    """One line per cell, at full precision: reading a number back gives the same float."""
    long = to_arrow(table)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(long.column_names)
    writer.writerows(_csv_row(row) for row in long.to_pylist())
    return sink.getvalue()


def _csv_row(row: dict[str, Any]) -> list[Any]:
    return [str(value).lower() if isinstance(value, bool) else value for value in row.values()]


def to_json(table: Table) -> str:
    """The cells as objects, with what a reader must know about the whole; strict JSON."""
    grid = lay_out(table)
    value = {
        "name": table.name,
        "title": table.title,
        "caption": grid.caption,
        "statistic": table.statistic,
        "rows": table.rows,
        "columns": table.columns,
        "values": table.values,
        "pooled": dict(table.pooled),
        "notes": table.notes,
        "cells": [_json_row(row) for row in to_arrow(table).to_pylist()],
    }
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity, which the spread of values near the largest float may be: null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def markdown(grid: Grid) -> str:
    """A GitHub table; header levels are joined by " / "."""
    header = [*grid.stub, *(" / ".join(texts) for texts in grid.header)]
    rows = [
        [*map(_escape_markdown, labels), *(_markdown(grid, number, place) for place in range(len(entries)))]
        for number, (labels, entries) in enumerate(zip(grid.labels, grid.body, strict=True))
    ]
    rule = [":--"] * len(grid.stub) + ["--:"] * len(grid.header)
    lines = [_pipes(map(_escape_markdown, header)), _pipes(rule), *map(_pipes, rows)]
    notes = "".join(f"\n{_escape_markdown(f'{mark} {note}'.strip())}\n" for mark, note in grid.notes)
    return f"{_escape_markdown(grid.caption)}\n\n" + "\n".join(lines) + "\n" + notes


def _markdown(grid: Grid, row: int, column: int) -> str:
    text, mark = map(_escape_markdown, grid.body[row][column])
    return f"**{text}**{mark}" if (row, column) in grid.bold else f"{text}{mark}"


def _pipes(texts: Any) -> str:
    return f"| {' | '.join(texts)} |"


_MARKDOWN = re.compile(r"[\\|*`<]|~(?=~)|(?<=~)~|(?<!\w)_|_(?!\w)|(?<=\])[(\[]|&(?=#?\w+;)")
"""What GitHub reads as markup: an underscore only at a word's edge, brackets only of a link, `&` only of an entity."""


def _escape_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))


def text(grid: Grid, width: int = WIDTH) -> str:
    """For terminals: aligned columns, in several blocks one below the other where they are wider than `width`."""
    lines = textwrap.wrap(grid.caption, width)
    grid = _starred(grid)
    measures = _measures(grid)
    for start, stop in _blocks(grid, measures, width):
        lines += ["", *_block(grid, measures, start, stop)]
    for mark, note in grid.notes:
        lines += textwrap.wrap(f"{mark} {note}".strip(), width, subsequent_indent=" " * (len(mark) + 1 if mark else 0))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _starred(grid: Grid) -> Grid:
    """The best cells with an asterisk: a terminal may have no bold letters."""
    body = tuple(
        tuple(
            (text, f"*{mark}") if (row, place) in grid.bold else (text, mark) for place, (text, mark) in enumerate(own)
        )
        for row, own in enumerate(grid.body)
    )
    return replace(grid, body=body)


def cells_wide(text: str) -> int:
    """How many terminal cells a text takes: two for wide letters, none for combining ones.

    Example:
        >>> cells_wide("95 ± 1"), cells_wide("学習"), cells_wide("e\\u0301")
        (6, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(map(_wide, text))


@cache
def _wide(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _pad(text: str, width: int, side: str) -> str:
    room = max(0, width - cells_wide(text))
    left = {"left": 0, "right": room, "center": room // 2}[side]
    return " " * left + text + " " * (room - left)


@dataclass(frozen=True)
class _Measures:
    """How wide things are, in terminal cells: row labels; texts and footnote marks of each column."""

    labels: list[int]
    texts: list[int]
    marks: list[int]


def _measures(grid: Grid) -> _Measures:
    labels = [max(map(cells_wide, column)) for column in zip(grid.stub, *grid.labels, strict=True)]
    columns = [*zip(*grid.body, strict=True)] or [()] * len(grid.header)
    texts = [max((cells_wide(text) for text, _ in column), default=0) for column in columns]
    marks = [max((len(mark) for _, mark in column), default=0) for column in columns]
    return _Measures(labels, texts, marks)


def _body_widths(grid: Grid, measures: _Measures, start: int, stop: int) -> list[int]:
    """Widths of columns start..stop: of their cells with room for the marks, and of the headers that span them."""
    widths = [measures.texts[index] + measures.marks[index] for index in range(start, stop)]
    header = grid.header[start:stop]
    for level in reversed(range(len(header[0]) if header else 0)):
        for first, count, title in spans(header, level):
            room = sum(widths[first : first + count]) + GAP * (count - 1)
            widths[first + count - 1] += max(0, cells_wide(title) - room)
    return widths


def _blocks(grid: Grid, measures: _Measures, width: int) -> list[tuple[int, int]]:
    """Ranges of columns that fit beside the row labels; split between outermost groups where that is possible."""
    labels = sum(measures.labels) + GAP * len(grid.stub)

    def fits(start: int, stop: int) -> bool:
        return labels + sum(_body_widths(grid, measures, start, stop)) + GAP * (stop - start - 1) <= width

    pieces: list[tuple[int, int]] = []
    for first, count, _ in spans(grid.header, 0):
        whole = fits(first, first + count)
        pieces += [(first, first + count)] if whole else [(index, index + 1) for index in range(first, first + count)]
    blocks: list[tuple[int, int]] = []
    for start, stop in pieces:
        if blocks and fits(blocks[-1][0], stop):
            blocks[-1] = (blocks[-1][0], stop)
        else:
            blocks.append((start, stop))
    return blocks


def _block(grid: Grid, measures: _Measures, start: int, stop: int) -> list[str]:
    label_widths, widths, gap = measures.labels, _body_widths(grid, measures, start, stop), " " * GAP
    header = grid.header[start:stop]
    total = sum(label_widths) + sum(widths) + GAP * (len(label_widths) + len(widths) - 1)
    lines = ["─" * total]
    for level in range(len(header[0])):
        innermost = level == len(header[0]) - 1
        stub = [
            _pad(name if innermost else "", width, "left") for name, width in zip(grid.stub, label_widths, strict=True)
        ]
        found = [(sum(widths[i : i + n]) + GAP * (n - 1), n, title) for i, n, title in spans(header, level)]
        lines.append(
            gap.join([*stub, *(_pad(title, room, "right" if n == 1 else "center") for room, n, title in found)])
        )
        if not innermost and any(n > 1 for _, n, _ in found):
            blank = [" " * width for width in label_widths]
            lines.append(gap.join([*blank, *(("─" if n > 1 else " ") * room for room, n, _ in found)]))
    lines.append("─" * total)
    for labels, row in zip(without_repeats(grid.labels), grid.body, strict=True):
        stub = [_pad(label, width, "left") for label, width in zip(labels, label_widths, strict=True)]
        lines.append(gap.join([*stub, *_cells(row[start:stop], measures.marks[start:stop], widths)]))
    return [*lines, "─" * total]


def _cells(row: Sequence[tuple[str, str]], marks: Sequence[int], widths: Sequence[int]) -> list[str]:
    return [
        _pad(text + mark.ljust(room), width, "right")
        for (text, mark), room, width in zip(row, marks, widths, strict=True)
    ]
