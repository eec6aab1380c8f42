"""What a sweep file says about its results: tables and claims."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from orchestrator.errors import allowed
from orchestrator.sweepfile.axes import Axis, Scalar, identity
from orchestrator.sweepfile.claimforms import check_claim
from orchestrator.sweepfile.explain import complaints
from orchestrator.sweepfile.problems import Problems
from orchestrator.sweepfile.schema import IS_KEY
from orchestrator.sweepfile.yamlfile import Place, kind

Statistic = Literal["mean_std", "mean_se", "mean_min_max", "median_iqr", "mean_ci"]
Best = Literal["max", "min"]
MOST_DECIMALS = 15  # what a float64 has
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _listed(value: object) -> object:
    """One name stands for a list of it (tuples: what a validator returns is no JSON, and strict)."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])]


@dataclass(frozen=True)
class TableSpec:
    """A table to print: axes as rows and columns, metrics as cells.

    Attributes:
        best: What is in bold, of all metrics or by metric; `best_in` is among which cells of one metric.
        decimals: How many every number has (of percent, for accuracies); by default as its uncertainty asks.
    """

    __pydantic_config__ = _STRICT
    name: str = field(metadata=IS_KEY)
    values: _Names
    rows: _Names = ()
    columns: _Names = ()
    statistic: Statistic = "mean_std"
    paper: str | None = None
    title: str | None = None
    best: Best | Mapping[str, Best] | None = None
    best_in: Literal["column", "row", "table"] = "column"
    decimals: int | None = None


@dataclass(frozen=True)
class Compare:
    """The metric at level `high` of an axis minus that at level `low`."""

    __pydantic_config__ = _STRICT
    axis: str
    high: Scalar
    low: Scalar


@dataclass(frozen=True)
class Order:
    """Levels of an axis, that of the lowest metric first."""

    __pydantic_config__ = _STRICT
    axis: str
    levels: tuple[Scalar, ...]


@dataclass(frozen=True)
class Contrast:
    """The sum of the metric at levels of an axis, each times its weight."""

    __pydantic_config__ = _STRICT
    axis: str
    weights: Mapping[str, float]


@dataclass(frozen=True)
class ForMost:
    """An axis for most of whose levels a claim holds: at least `share` of them, by default more than half."""

    __pydantic_config__ = _STRICT
    axis: str
    share: float | None = None


@dataclass(frozen=True)
class ClaimSpec:
    """A statement of the source as a check: a bound on the metric or on a difference, an order, a monotone dependence.

    Attributes:
        trend: An axis: by how much the metric rises a level, as the straight line through a seed's values has it.
        for_all: Axes for all of whose levels it must hold; so it must for those that neither this nor `where` names.
        statistic: What is compared over the seeds: means by t tests, medians by the bootstrap.
    """

    __pydantic_config__ = _STRICT
    name: str = field(metadata=IS_KEY)
    says: str
    metric: str
    where: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    compare: Compare | None = None
    trend: str | None = None
    contrast: Contrast | None = None
    at_least: float | None = None
    at_most: float | None = None
    within: float | None = None
    increasing: str | None = None
    decreasing: str | None = None
    order: Order | None = None
    for_all: _Names = ()
    for_most: ForMost | None = None
    statistic: Literal["mean", "median"] = "mean"


_Spec = TypeVar("_Spec", TableSpec, ClaimSpec)


@dataclass(frozen=True)
class Known:
    """The axes of a sweep and every level that the file or an overlay gives them.

    A level that only the scale or `--set` drops is still known: what names it is undecided there, not wrong.
    """

    levels: Mapping[str, Mapping[tuple[str, Scalar], Scalar]]
    wrong: frozenset[str] = frozenset()
    """Axes of which something else is wrong: nothing is said of their levels."""

    @classmethod
    def of(cls, stated: Any, *sources: Mapping[str, Axis]) -> Known:
        """What any of `sources` has; `stated` are the axes as the file has them, right or wrong."""
        levels: dict[str, dict[tuple[str, Scalar], Scalar]] = {}
        for name, axis in (item for axes in sources for item in axes.items()):
            levels.setdefault(name, {}).update({identity(level.label): level.label for level in axis.levels})
        names = map(str, stated) if isinstance(stated, Mapping) else ()
        return cls(levels, frozenset(names) - levels.keys())

    def axis(self, name: object, place: Place, problems: Problems) -> bool:
        """Whether `name` is an axis; noted if not."""
        if isinstance(name, str) and (name in self.levels or name in self.wrong):
            return True
        problems.add(place, f"no axis {name!r}; {allowed(name, self.levels)}")
        return False

    def level(self, name: str, label: Any, place: Place, problems: Problems) -> None:
        """Note a label that no level of axis `name` has."""
        if isinstance(label, list | tuple | Mapping):
            problems.add(place, f"expected a level of axis {name}, got {kind(label)}")
        elif name not in self.wrong and identity(label) not in self.levels[name]:
            known = self.levels[name].values()
            alike = next((level for level in known if str(level).lower() == str(label).lower()), None)
            ways = allowed(label, known) if alike is None else f"did you mean {kind(alike)}?"
            problems.add(place, f"{kind(label)} is no level of axis {name}; {ways}")

    def selection(self, raw: Mapping[Any, Any], place: Place, problems: Problems) -> None:
        """Note what is wrong with `axis: level` or `axis: [levels]`."""
        for name, labels in raw.items():
            if self.axis(name, (*place, name), problems):
                for index, label in enumerate(labels if isinstance(labels, list | tuple) else [labels]):
                    below = (index,) if isinstance(labels, list | tuple) else ()
                    self.level(name, label, (*place, name, *below), problems)


def read_tables(raw: Any, known: Known, problems: Problems) -> dict[str, TableSpec]:
    """The tables that are right; what is wrong with the others is noted."""
    tables = _read(TableSpec, ("tables",), raw, problems)
    for name, table in tables.items():
        place = ("tables", name)
        for side, axes in (("rows", table.rows), ("columns", table.columns)):
            for axis in axes:
                known.axis(axis, (*place, side), problems)
        both = [*table.rows, *table.columns]
        for axis in dict.fromkeys(axis for axis in both if both.count(axis) > 1):
            problems.add((*place, "columns" if axis in table.columns else "rows"), f"axis {axis!r} stands twice")
        if not table.values:
            problems.add((*place, "values"), "a table needs at least one metric")
        for metric in table.best if isinstance(table.best, Mapping) else ():
            if metric not in table.values:
                problems.add((*place, "best", metric), f"no value of this table; {allowed(metric, table.values)}")
        if table.decimals is not None and not 0 <= table.decimals <= MOST_DECIMALS:
            problems.add((*place, "decimals"), f"must be 0 to {MOST_DECIMALS}, got {table.decimals}")
        tables[name] = replace(table, paper=paper_beside(table.paper, (*place, "paper"), problems))
    return tables


def paper_beside(paper: str | None, place: Place, problems: Problems) -> str | None:
    """The file of published values that `place` names, as seen from the sweep file; notes what is wrong with it.

    It lies beside the file that names it, which may be one that the sweep file extends.
    """
    if paper is None:
        return None
    document, path = problems.document, PurePosixPath(paper)
    folder = document.folder(place)
    if path.is_absolute() or ".." in path.parts or "\\" in paper or not paper.isprintable() or not path.parts:
        problems.add(place, f"{paper!r} must be a file beside this one, written as a relative path without '..'")
    elif path.suffix != ".csv":
        problems.add(place, f"{paper!r} is no table of published values: it must be a .csv file")
    elif not _is_file(folder / path):
        problems.add(place, f"no such file: {paper} (looked beside {Path(document.where(place).file).name})")
    return paper if folder == document.path.parent else str((folder / path).absolute())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def read_claims(raw: Any, known: Known, problems: Problems) -> dict[str, ClaimSpec]:
    """The claims that are right; what is wrong with the others is noted."""
    claims = _read(ClaimSpec, ("claims",), raw, problems)
    for name, claim in claims.items():
        place = ("claims", name)
        known.selection(claim.where, (*place, "where"), problems)
        check_claim(claim, known, place, problems)
    return claims


def _read(shape: type[_Spec], place: Place, raw: Any, problems: Problems) -> dict[str, _Spec]:
    found: dict[str, _Spec] = {}
    for name, value in problems.mapping(place, raw).items():
        here = (*place, name)
        if not problems.name(here, name) or not _is_json(here, problems.mapping(here, value), problems):
            continue
        if value is not None and not isinstance(value, Mapping):
            continue
        given = {**problems.mapping(here, value), "name": "name"}
        try:
            found[name] = replace(TypeAdapter(shape).validate_json(json.dumps(given)), name=name)
        except ValidationError as error:
            for complaint in complaints(error, given, shape):
                problems.add((*here, *complaint.path), complaint.message)
        if "name" in problems.mapping(here, value):
            problems.add((*here, "name"), "unknown field; the name is the key above")
    return found


def _is_json(place: Place, value: Mapping[Any, Any], problems: Problems) -> bool:
    wrong = [*keys_that_are_no_text(value, place)]
    for item in wrong:
        problems.add(item, f"expected text as a field's name, got {kind(item[-1])}; quote it")
    return not wrong


def keys_that_are_no_text(value: Any, place: Place) -> Iterable[Place]:
    """The places of keys that JSON cannot hold as they are."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield (*place, key)
            yield from keys_that_are_no_text(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from keys_that_are_no_text(item, (*place, index))
