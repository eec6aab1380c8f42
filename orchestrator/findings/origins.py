"""Where a number of a table comes from: the trials behind it with their values, nodes, commit and files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from orchestrator.errors import NotFound, allowed
from orchestrator.findings.layout import level_header
from orchestrator.findings.levels import level_text, short_names
from orchestrator.findings.notation import SENTENCES, cell_text, metric_label
from orchestrator.findings.residuals import RESIDUAL, value_text
from orchestrator.record import AXIS, METRIC, axis_names
from orchestrator.sweepfile.axes import SEED

if TYPE_CHECKING:
    import pyarrow

    from orchestrator.store import Scalar, Store
    from orchestrator.tables import Levels, Table

NODE = "meta.node."
MOST = 30  # trials of one number that a comment lists
KEY = 12  # digits of a key in a comment
WHOLE = "all"  # the row of a table without row axes


@dataclass(frozen=True)
class Origin:
    """One trial behind a number.

    Attributes:
        levels: Those of the axes that the row and the column leave open, the seed among them.
        nodes: Keys by stage, or stage and measure.
    """

    trial: str
    levels: Mapping[str, Scalar]
    value: float | None
    status: str
    error: str | None
    commit: str | None
    nodes: Mapping[str, str]
    residual: float | None = None

    @property
    def text(self) -> str:
        """Its value at full precision, "" without one."""
        return value_text(self.value, self.residual)


@dataclass(frozen=True)
class Origins:
    """The trials behind the cells of one table."""

    table: Table
    records: pyarrow.Table

    def of(self, row: int, column: int) -> list[Origin]:
        """The trials of one cell, in the order of the records."""
        levels, metric = self.table.header[column]
        fixed = {*self.table.rows, *self.table.columns}
        own = [axis for axis in axis_names(self.records) if axis == SEED or axis not in fixed]
        labels = [f"{NODE}{label}" for label in _labels(self.records, metric)]
        values, residuals = self._column(f"{METRIC}{metric}"), self._column(f"{METRIC}{metric}{RESIDUAL}")
        return [
            Origin(
                trial=str(self._column("meta.trial")[place]),
                levels={axis: self._column(f"{AXIS}{axis}")[place] for axis in own},
                value=values[place],
                status=str(self._column("status")[place]),
                error=self._column("error")[place],
                commit=self._column("meta.commit")[place],
                nodes={name.removeprefix(NODE): key for name in labels if (key := self._column(name)[place])},
                residual=residuals[place],
            )
            for place in self._places.get((self.table.row_labels[row], levels), ())
        ]

    @cached_property
    def _places(self) -> dict[tuple[Levels, Levels], list[int]]:
        found: dict[tuple[Levels, Levels], list[int]] = {}
        for place, pair in enumerate(zip(self._levels(self.table.rows), self._levels(self.table.columns), strict=True)):
            found.setdefault(pair, []).append(place)
        return found

    def _levels(self, axes: Sequence[str]) -> list[Levels]:
        columns = [self._column(f"{AXIS}{axis}") for axis in axes]
        return list(zip(*columns, strict=True)) if axes else [()] * self.records.num_rows

    @cached_property
    def _columns(self) -> dict[str, Sequence[Any]]:
        return {}

    def _column(self, name: str) -> Sequence[Any]:
        """A column of the records; nothing but None where there is none: records of old versions have fewer."""
        if name not in self._columns:
            known = name in self.records.column_names
            self._columns[name] = self.records[name].to_pylist() if known else [None] * self.records.num_rows
        return self._columns[name]


def find(table: Table, text: str) -> tuple[int, int]:
    """The cell that `ROW,COLUMN` means.

    A row is named by its levels, a column by its levels and, where there are several, its metric, joined by "/"; a
    level as in the table's header or as the sweep file has it. Levels may have commas in them.

    Raises:
        NotFound: there is no such row or column, or the text fits several cells.
    """
    rows, columns = _rows(table), _columns(table)
    sides = [(_plain(text[:at]), _plain(text[at + 1 :])) for at, letter in enumerate(text) if letter == ","]
    found = {(rows[row], columns[column]) for row, column in sides if row in rows and column in columns}
    if len(found) == 1:
        return found.pop()
    place = f"--explain {text!r}: table {table.name}"
    if found:
        raise NotFound(f"{place} has {len(found)} such cells; name levels as AXIS=LEVEL")
    if not sides:
        raise NotFound(f"{place}: ROW,COLUMN is needed; rows: {_names(rows)}; columns: {_names(columns)}")
    row, column = next((side for side in sides if side[0] in rows), None) or sides[0]
    if row not in rows:
        raise NotFound(f"{place} has no row {row!r}; {allowed(row, _first(rows))}")
    raise NotFound(f"{place} has no column {column!r}; {allowed(column, _first(columns))}")


def explained(table: Table, cell: tuple[int, int], found: Sequence[Origin], store: Store, name: str) -> str:
    """A number and the trials behind it, for people."""
    row, column = cell
    metric = table.header[column][1]
    number = table.cells[row][column]
    lines = [
        f"{table.name}: {_first(_rows(table))[row]}, {_first(_columns(table))[column]}",
        f"{metric_label(metric)} {cell_text(number, table.statistic, metric, table.decimals)}:"
        f" {SENTENCES[table.statistic]}, n={number.n}{f'; {number.remark}' if number.remark else ''}",
    ]
    for origin in found:
        value = origin.text or "no value"
        lines += ["", f"{_at(origin.levels)}: {metric} {value}, {origin.status}, trial {origin.trial}"]
        lines += [f"  commit {origin.commit or 'not known'}"]
        lines += [f"  {label}  {key}  {_where(store, key)}" for label, key in origin.nodes.items()]
        lines += [f"  {origin.error}"] if origin.error else []
    log = store.sweep_folder(name) / "run.log"
    return "\n".join([*lines, "", *([f"log of the runs: {log}"] if log.is_file() else []), WHY]) + "\n"


WHY = "`sweep why KEY` explains a node."


def as_json(table: Table, cell: tuple[int, int], found: Sequence[Origin], store: Store) -> str:
    """The same for programs; values that are not finite are the words nan, inf, -inf."""
    row, column = cell
    levels, metric = table.header[column]
    trials = [
        {
            **vars(origin),
            "value": origin.value if origin.value is None or origin.value - origin.value == 0 else str(origin.value),
            "files": {key: _files(store, key) for key in origin.nodes.values()},
        }
        for origin in found
    ]
    value = {
        "table": table.name,
        "row": dict(zip(table.rows, table.row_labels[row], strict=True)),
        "column": dict(zip(table.columns, levels, strict=True)),
        "metric": metric,
        "trials": trials,
    }
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def comment(table: Table, records: pyarrow.Table) -> str:
    """The origins of all numbers as LaTeX comments."""
    origins, lines = Origins(table, records), ["% Origins: row, column: values (nodes); the commits."]
    commits: dict[str, None] = {}
    for row, column in product(range(len(table.row_labels)), range(len(table.header))):
        if not (found := origins.of(row, column)):
            continue
        commits |= {origin.commit: None for origin in found if origin.commit}
        parts = [_short(origin) for origin in found[:MOST]]
        parts += [f"and {len(found) - MOST} more"] if len(found) > MOST else []
        lines.append(f"{_first(_rows(table))[row]}, {_first(_columns(table))[column]}: {'; '.join(parts)}")
    lines.append(f"commits: {', '.join(commits) or 'not known'}")
    return "".join(f"% {' '.join(line.lstrip('% ').split())}\n" for line in lines)


def _labels(records: pyarrow.Table, metric: str) -> list[str]:
    """The stages and measures whose nodes lie behind a metric: all, but for other measures of the stage that has it."""
    labels = [name.removeprefix(NODE) for name in records.column_names if name.startswith(NODE)]
    own = {label for label in labels if label.rpartition(".")[2] == metric.rpartition(".")[2]}
    stages = {label.rpartition(".")[0] for label in own}
    return [label for label in labels if label in own or label.rpartition(".")[0] not in stages - {""}]


def _short(origin: Origin) -> str:
    parts = [origin.text, "" if origin.status == "done" else origin.status]
    value = " ".join(filter(None, parts)) or "no value"
    keys = ", ".join(f"{label} {key[:KEY]}" for label, key in origin.nodes.items())
    return f"{_at(origin.levels)} {value} ({keys})"


def _at(levels: Mapping[str, Scalar]) -> str:
    short = short_names(levels)
    return ", ".join(f"{short[axis]}={level_text(level)}" for axis, level in levels.items()) or WHOLE


def _where(store: Store, key: str) -> str:
    files = _files(store, key)
    folder = f"{store.node_folder(key)}/"
    names = ", ".join(path.removeprefix(folder) for path in files)
    return f"{folder} ({names})" if files and files[0].startswith(folder) else names or "has no files"


def _files(store: Store, key: str) -> list[str]:
    """What the store has of a node: its files, its logs among them; else why it failed."""
    if found := store.files(key):
        return found
    failed = store.root / "failed" / f"{key}.json"
    return [str(failed)] if failed.is_file() else []


def _plain(text: str) -> str:
    return "/".join(" ".join(part.split()) for part in text.split("/"))


def _rows(table: Table) -> dict[str, int]:
    """Every spelling of every row; the first one is the one to show."""
    short = short_names((*table.rows, *table.columns))
    return _spellings(([*_options(table.rows, levels, short)] or [[WHOLE, ""]]) for levels in table.row_labels)


def _columns(table: Table) -> dict[str, int]:
    short = short_names((*table.rows, *table.columns))
    options = []
    for levels, metric in table.header:
        own = [*_options(table.columns, levels, short)]
        names = [metric, metric_label(metric)]
        options.append([*own, [*([""] if own and len(table.values) == 1 else []), *names]])
    return _spellings(options)


def _options(axes: Sequence[str], levels: Levels, short: Mapping[str, str]) -> Iterator[list[str]]:
    for axis, level in zip(axes, levels, strict=True):
        text = level_text(level)
        yield [level_header(short[axis], level), text, f"{short[axis]}={text}", f"{axis}={text}"]


def _spellings(options: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for index, parts in enumerate(options):
        for words in product(*parts):
            found.setdefault(_plain("/".join(filter(None, words))), index)
    return found


def _first(spellings: Mapping[str, int]) -> list[str]:
    """By index the first spelling."""
    first: dict[int, str] = {}
    for text, index in spellings.items():
        first.setdefault(index, text)
    return [first[index] for index in sorted(first)]


def _names(spellings: Mapping[str, int]) -> str:
    return ", ".join(_first(spellings))
