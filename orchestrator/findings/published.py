"""The numbers a paper printed: a CSV beside the sweep, read for the cells of a table.

Columns: axes (full names, or their last dotted part; `axis.n` for one called as a field is), then metric, value,
spread, statistic, n. A blank axis cell, or an axis without a column, stands for every level. `95.3%` is 0.953.
`statistic` says what the spread is. An accuracy is a fraction of 1: one of 95.3 is refused, and not printed as 9530 %.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import NotFound, Problem, SpecError, Where, allowed
from orchestrator.findings import statistics
from orchestrator.findings.levels import level_text, short_names
from orchestrator.findings.notation import is_fraction
from orchestrator.record import AXIS
from orchestrator.store import Scalar

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

FIELDS = ("metric", "value", "spread", "statistic", "n")
STANDARD_DEVIATION = frozenset({"mean_std", "std", "sd"})
STANDARD_ERROR = frozenset({"mean_se", "se", "sem"})
HALF_INTERVAL = frozenset({"mean_ci", "ci", "ci95"})
NO_ERROR = frozenset({"mean", "mean_min_max", "median_iqr", "median", ""})
STATISTICS = STANDARD_DEVIATION | STANDARD_ERROR | HALF_INTERVAL | NO_ERROR


@dataclass(frozen=True)
class Published:
    """A published value; `difference` is ours minus theirs in standard errors of that difference, where computable."""

    value: float
    spread: float | None
    n: int | None
    statistic: str
    difference: float | None = None

    @property
    def standard_error(self) -> float | None:
        """std / sqrt(n), the error itself, or the half width of a 95 % interval over its t quantile."""
        if self.spread is None:
            return None
        if self.statistic in STANDARD_ERROR:
            return self.spread
        if self.n is None or self.n < 2:
            return None
        if self.statistic in STANDARD_DEVIATION:
            return self.spread / math.sqrt(self.n)
        if self.statistic in HALF_INTERVAL:
            return self.spread / statistics.t_quantile((1 + statistics.LEVEL) / 2, self.n - 1)
        return None

    def against(self, ours: Sequence[float]) -> Published:
        """The same with `difference` = (mean(ours) - value) / sqrt(se_ours^2 + se_published^2)."""
        own, theirs, center = statistics.standard_error(ours), self.standard_error, statistics.mean(ours)
        if own is None or theirs is None or center is None or own == theirs == 0:
            return self
        difference = (center - self.value) / math.hypot(own, theirs)
        return Published(self.value, self.spread, self.n, self.statistic, difference)


@dataclass(frozen=True)
class Line:
    """One line of the file: the levels it states as text, by axis."""

    number: int
    levels: Mapping[str, str]
    metric: str
    published: Published


@dataclass(frozen=True)
class Paper:
    """The lines of one file."""

    path: Path
    lines: tuple[Line, ...]

    def find(self, levels: Mapping[str, Scalar], metric: str) -> Line | None:
        """The line for a cell.

        Raises:
            SpecError: several lines are for that cell.
        """
        found = [line for line in self.lines if line.metric == metric and _meant(line.levels, levels)]
        if len(found) > 1:
            first, second = found[:2]
            message = f"lines {first.number} and {second.number} are both for one cell of the table"
            raise SpecError([Problem(Where(str(self.path), second.number, 1), "", message)])
        return found[0] if found else None


def check(spec: SweepSpec) -> None:
    """Raises SpecError with everything that is wrong in the files that the tables and figures of a sweep name.

    So that a run of days does not end with a table that cannot be printed.
    """
    problems: dict[Problem, None] = {}
    for name in spec.papers:
        try:
            read(spec.document.path.parent / name, [*spec.axes], ())
        except SpecError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise SpecError([*problems])


def read(path: Path, axes: Sequence[str], metrics: Sequence[str]) -> Paper:
    """The published values; `axes` are those of the records, `metrics` those of the table.

    Raises:
        NotFound: no such file.
        SpecError: everything that is wrong in it, with its lines.
    """
    reader = csv.DictReader(_text(path).splitlines(), skipinitialspace=True)
    spellings = {short: name for name, short in short_names(axes).items()} | {name: name for name in axes}
    known = {text: name for text, name in spellings.items() if text not in FIELDS}
    known |= {f"{AXIS}{name}": name for name in axes}  # the way to name an axis called `n`
    problems: list[Problem] = []
    lines: list[Line] = []
    try:
        problems += _header_problems(path, reader.fieldnames or (), known)
        for row in () if problems else reader:
            try:
                lines.append(_line(reader.line_num, row, known))
            except ValueError as error:
                problems.append(Problem(Where(str(path), reader.line_num, 1), "", str(error)))
    except csv.Error as error:
        problems.append(Problem(Where(str(path), reader.line_num + 1, 1), "", str(error)))
    if problems:
        raise SpecError(problems)
    return Paper(path, tuple(line for line in lines if line.metric in metrics))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path}: the published values (`paper:` of a table) are not there") from None
    except OSError as error:
        raise NotFound(f"{path}: the published values cannot be read: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        message = f"byte {content[error.start]:#x} is no UTF-8: save the file as UTF-8"
        raise SpecError([Problem(Where(str(path), line, 1), "", message)]) from error


def _header_problems(path: Path, names: Sequence[str], known: Mapping[str, str]) -> list[Problem]:
    place = Where(str(path), 1, 1)
    problems = [
        Problem(place, name, f"no such column; {allowed(name, [*dict.fromkeys(known.values()), *FIELDS])}")
        for name in names
        if name not in known and name not in FIELDS
    ]
    meant = [f"{AXIS}{known[name]}" if name in known else name for name in names]
    twice = dict.fromkeys(name.removeprefix(AXIS) for name in meant if meant.count(name) > 1)
    problems += [Problem(place, name, "this column stands twice") for name in twice]
    return problems + [Problem(place, name, "this column is missing") for name in FIELDS[:2] if name not in names]


def _line(number: int, row: Mapping[str, str | None], known: Mapping[str, str]) -> Line:
    cells = {name: (text or "").strip() for name, text in row.items() if isinstance(name, str)}
    if None in row:
        raise ValueError("more cells than columns")
    statistic = cells.get("statistic", "")
    if statistic not in STATISTICS:
        raise ValueError(f"statistic {statistic!r}; {allowed(statistic, sorted(STATISTICS - {''}))}")
    n = cells.get("n", "")
    if n and not (n.isascii() and n.isdigit()):
        raise ValueError(f"n {n!r} is not a whole number")
    value, spread = _measured(cells["metric"], cells["value"], cells.get("spread", ""))
    levels = {known[name]: cells[name] for name in cells if name in known and cells[name]}
    return Line(number, levels, cells["metric"], Published(value, spread, int(n) if n else None, statistic))


def _measured(metric: str, text: str, beside: str) -> tuple[float, float | None]:
    """A value and its spread, in the unit of the metric."""
    value, spread = _number("value", text), _number("spread", beside) if beside else None
    if is_fraction(metric) and abs(value) > 1 and not text.endswith("%"):
        raise ValueError(f"value {text!r}: {metric} is a fraction of 1; allowed: {text}% or {value / 100:.6g}")
    if spread is not None and spread < 0:
        raise ValueError(f"spread {beside!r} is less than 0")
    if spread and text.endswith("%") != beside.endswith("%"):
        raise ValueError(f"value {text!r} and spread {beside!r} must both be in percent, or neither")
    return value, spread


def _number(field: str, text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"{field} {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{field} {text!r} is not a finite number")
    return value


def _meant(stated: Mapping[str, str], levels: Mapping[str, Scalar]) -> bool:
    return all(_same(text, levels[axis]) for axis, text in stated.items() if axis in levels)


def _same(text: str, level: Scalar) -> bool:
    if text == level_text(level):
        return True
    try:
        return not isinstance(level, bool) and level is not None and float(text) == float(level)
    except ValueError:
        return False
