"""What a sweep file says about its results: tables and claims."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from orchestrator.axes import Axis, Scalar, identity
from orchestrator.errors import allowed
from orchestrator.explain import complaints
from orchestrator.problems import Problems
from orchestrator.schema import IS_KEY
from orchestrator.yamlfile import Place, kind

Statistic = Literal["mean_std", "mean_se", "mean_min_max", "median_iqr", "mean_ci"]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _listed(value: object) -> object:
    """One name stands for a list of it (tuples: what a validator returns is no JSON, and strict)."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


@dataclass(frozen=True)
class TableSpec:
    """A table to print: axes as rows and columns, metrics as cells."""

    __pydantic_config__ = _STRICT
    name: str = field(metadata=IS_KEY)
    values: _Names
    rows: _Names = ()
    columns: _Names = ()
    statistic: Statistic = "mean_std"
    paper: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class Compare:
    """The metric at level `high` of an axis minus that at level `low`."""

    __pydantic_config__ = _STRICT
    axis: str
    high: Scalar
    low: Scalar


@dataclass(frozen=True)
class ClaimSpec:
    """A statement of the source as a check: a comparison with a bound, or a monotone dependence on an axis."""

    __pydantic_config__ = _STRICT
    name: str = field(metadata=IS_KEY)
    says: str
    metric: str
    where: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    compare: Compare | None = None
    at_least: float | None = None
    at_most: float | None = None
    within: float | None = None
    increasing: str | None = None
    decreasing: str | None = None


_Spec = TypeVar("_Spec", TableSpec, ClaimSpec)


@dataclass(frozen=True)
class Known:
    """The axes of a sweep and every level that the file or an overlay gives them.

    A level that only the scale or `--set` drops is still known: what names it is undecided there, not wrong.
    """

    levels: Mapping[str, Mapping[tuple[str, Scalar], Scalar]]

    @classmethod
    def of(cls, *sources: Mapping[str, Axis]) -> Known:
        """What any of `sources` has."""
        levels: dict[str, dict[tuple[str, Scalar], Scalar]] = {}
        for name, axis in (item for axes in sources for item in axes.items()):
            levels.setdefault(name, {}).update({identity(level.label): level.label for level in axis.levels})
        return cls(levels)

    def axis(self, name: object, place: Place, problems: Problems) -> bool:
        """Whether `name` is an axis; noted if not."""
        if name in self.levels:
            return True
        problems.add(place, f"no axis {name!r}; {allowed(name, self.levels)}")
        return False

    def level(self, name: str, label: Any, place: Place, problems: Problems) -> None:
        """Note a label that no level of axis `name` has."""
        if isinstance(label, list | tuple | Mapping):
            problems.add(place, f"expected a level of axis {name}, got {kind(label)}")
        elif identity(label) not in self.levels[name]:
            shown = list(self.levels[name].values())[:20]
            problems.add(place, f"{kind(label)} is no level of axis {name}; {allowed(label, shown)}")

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
        _check_paper(table.paper, (*place, "paper"), problems)
    return tables


def _check_paper(paper: str | None, place: Place, problems: Problems) -> None:
    if paper is None:
        return
    path = PurePosixPath(paper)
    if path.is_absolute() or ".." in path.parts or "\\" in paper or "\0" in paper or not path.parts:
        problems.add(place, f"{paper!r} must be a file beside this one, written as a relative path without '..'")
    elif not (problems.document.path.parent / path).is_file():
        problems.add(place, f"no such file: {paper} (looked beside {problems.document.path.name})")


def read_claims(raw: Any, known: Known, problems: Problems) -> dict[str, ClaimSpec]:
    """The claims that are right; what is wrong with the others is noted."""
    claims = _read(ClaimSpec, ("claims",), raw, problems)
    for name, claim in claims.items():
        place = ("claims", name)
        known.selection(claim.where, (*place, "where"), problems)
        _check_form(claim, place, problems)
        if claim.compare:
            _check_compare(claim.compare, claim, known, (*place, "compare"), problems)
        for form in ("increasing", "decreasing"):
            axis = getattr(claim, form)
            if axis is not None:
                known.axis(axis, (*place, form), problems)
    return claims


def _check_form(claim: ClaimSpec, place: Place, problems: Problems) -> None:
    forms = [form for form in ("compare", "increasing", "decreasing") if getattr(claim, form) is not None]
    bounds = [bound for bound in ("at_least", "at_most", "within") if getattr(claim, bound) is not None]
    if len(forms) != 1:
        got = " and ".join(forms) or "none of them"
        problems.add(place, f"a claim has one of compare, increasing, decreasing; got {got}")
    elif forms == ["compare"] and len(bounds) != 1:
        got = " and ".join(bounds) or "none of them"
        problems.add(place, f"compare needs one of at_least, at_most, within; got {got}")
    elif forms != ["compare"] and bounds:
        problems.add((*place, bounds[0]), f"only compare takes a bound; {forms[0]} takes none")
    if claim.within is not None and claim.within < 0:
        problems.add((*place, "within"), f"must be at least 0, got {claim.within}")


def _check_compare(compare: Compare, claim: ClaimSpec, known: Known, place: Place, problems: Problems) -> None:
    if not known.axis(compare.axis, (*place, "axis"), problems):
        return
    for side in ("high", "low"):
        known.level(compare.axis, getattr(compare, side), (*place, side), problems)
    if identity(compare.high) == identity(compare.low):
        problems.add((*place, "low"), "high and low are the same level")
    if compare.axis in claim.where:
        problems.add((*place, "axis"), f"axis {compare.axis!r} is compared, so `where` cannot choose its level")


def _read(shape: type[_Spec], place: Place, raw: Any, problems: Problems) -> dict[str, _Spec]:
    found: dict[str, _Spec] = {}
    for name, value in problems.mapping(place, raw).items():
        here = (*place, name)
        if not problems.name(here, name) or not _is_json(here, problems.mapping(here, value), problems):
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
