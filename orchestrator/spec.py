"""YAML -> SweepSpec: the file, then the scale, then `--set`. Every problem says its file, line, column and field.

`read` checks the form: fields, names, axes, levels, tables, claims, overlays. Whether the stages' configs are right is
for `check`, which loads their workloads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator import adaptive, overlay
from orchestrator.axes import Axis, Level, Scalar, read_axes
from orchestrator.comparisons import (
    ClaimSpec,
    Compare,
    Known,
    TableSpec,
    keys_that_are_no_text,
    read_claims,
    read_tables,
)
from orchestrator.errors import Problem, SpecError, Where
from orchestrator.overlay import Setting
from orchestrator.problems import SET, Problems, where_in
from orchestrator.yamlfile import Document, Place, kind, load, parse_value

__all__ = [
    "Axis", "ClaimSpec", "Compare", "Level", "Scalar", "Stage", "SweepSpec", "TableSpec", "parse_set", "read",
]  # fmt: skip

FIELDS = ("name", "title", "source", "stages", "axes", "zip", "where", "exclude", "tables", "claims", "scales")


@dataclass(frozen=True)
class Stage:
    """A named step: its workload and its config as written, without `workload` and `over`."""

    name: str
    workload: str
    config: dict[str, Any]
    over: str | None = None


@dataclass(frozen=True)
class SweepSpec:
    """A sweep as one scale and `--set` leave it.

    Attributes:
        where: Combinations to keep: those that match any (all, where there is none). Axis -> level or levels.
        exclude: Combinations to drop: those that match any.
        settings: What overlays set in stages, the last word last.
        sources: Where the axes stand that an overlay replaced.
    """

    name: str
    title: str
    source: Mapping[str, Any]
    stages: Mapping[str, Stage]
    axes: Mapping[str, Axis]
    zip: tuple[tuple[str, ...], ...]
    where: tuple[Mapping[str, Any], ...]
    exclude: tuple[Mapping[str, Any], ...]
    tables: Mapping[str, TableSpec]
    claims: Mapping[str, ClaimSpec]
    scale: str | None
    overrides: Mapping[str, Any]
    document: Document
    settings: tuple[Setting, ...] = ()
    sources: Mapping[str, Place] = field(default_factory=dict)

    @property
    def record_name(self) -> str:
        """`name`, `name@scale` for a scale other than paper, with eight hex digits of what `--set` said."""
        text = self.name if self.scale in (None, "paper") else f"{self.name}@{self.scale}"
        if not self.overrides:
            return text
        canonical = json.dumps(dict(self.overrides), sort_keys=True, separators=(",", ":"))
        return f"{text}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"

    def place(self, *path: Any) -> Place:
        """Where what stands at `path` of the sweep was written: an overlay's place where one has replaced it."""
        if path[:1] == ("axes",) and len(path) > 1 and path[1] in self.sources:
            return (*self.sources[path[1]], *path[2:])
        if path[:1] == ("stages",):
            for setting in reversed(self.settings):
                if path[1 : 1 + len(setting.path)] == setting.path:
                    return (*setting.source, *path[1 + len(setting.path) :])
        return path

    def where_is(self, *path: Any) -> Where | None:
        """The place in the file of what stands at `path` of the sweep; None for what the command line set."""
        return where_in(self.document, self.place(*path))


def read(path: Path, scale: str | None = None, overrides: Mapping[str, Any] = MappingProxyType({})) -> SweepSpec:
    """The sweep in the file `path` under a scale and `--set`.

    Raises:
        SpecError: with everything that is wrong.
    """
    document = load(path)
    problems = Problems(document)
    raw = _top(document, problems)
    stages = _raw_stages(raw, problems)
    declared = read_axes(raw.get("axes"), stages, {}, problems)
    layers = overlay.layers(raw.get("scales"), scale, overrides, problems)
    if problems:  # an overlay of what is wrong would only say it twice
        left, axes = overlay.Overlaid(stages, {}), declared
    else:
        left = overlay.apply(stages, raw.get("axes") or {}, layers, problems)
        axes = read_axes(left.axes, left.stages, left.sources, problems)
        overlay.note_clashes(left, axes, problems)
    known = Known.of(declared, axes)
    spec = SweepSpec(
        name=str(raw.get("name")),
        title=str(raw.get("title") or ""),
        source=dict(problems.mapping(("source",), raw.get("source"))),
        stages={key: _stage(key, value) for key, value in left.stages.items()},
        axes=axes,
        zip=_zip(raw.get("zip"), axes, known, problems),
        where=_selections("where", raw.get("where"), known, problems),
        exclude=_selections("exclude", raw.get("exclude"), known, problems),
        tables=read_tables(raw.get("tables"), known, problems),
        claims=read_claims(raw.get("claims"), known, problems),
        scale=scale,
        overrides=dict(overrides),
        document=document,
        settings=tuple(left.settings),
        sources=left.sources,
    )
    adaptive.note_conflicts(spec, problems)
    problems.stop()
    return spec


def parse_set(text: str) -> tuple[str, Any]:
    """`PATH=VALUE` of `--set`; the value is read as in a sweep file.

    Raises:
        SpecError: no `=`, no path, or no YAML value.

    Example:
        >>> parse_set("train.optimizer.lr=5e-3"), parse_set("axes.start=[random]")
        (('train.optimizer.lr', 0.005), ('axes.start', ['random']))
    """
    path, separator, value = text.partition("=")
    if not separator or not path.strip():
        raise SpecError([Problem(None, SET, f"expected PATH=VALUE, got {text!r}")])
    return path.strip(), parse_value(value, f"{SET} {path.strip()}")


def _top(document: Document, problems: Problems) -> Mapping[Any, Any]:
    """The fields of the file; a field of the wrong form is noted."""
    given = {key: value for key, value in document.value.items() if key != "extends"}
    raw = problems.fields((), given, FIELDS, ("name", "stages"))
    if "extends" in document.value:
        problems.add(("extends",), "not supported yet; write the whole sweep in one file")
    if "name" in raw:
        problems.name(("name",), raw["name"])
    if not isinstance(raw.get("title"), str | None):
        problems.add(("title",), f"expected text, got {kind(raw['title'])}")
    return raw


def _raw_stages(raw: Mapping[Any, Any], problems: Problems) -> dict[str, dict[str, Any]]:
    stages: dict[str, dict[str, Any]] = {}
    given = problems.mapping(("stages",), raw.get("stages"))
    if "stages" in raw and not given:
        problems.add(("stages",), "a sweep needs at least one stage")
    for name, value in given.items():
        place = ("stages", name)
        if not problems.name(place, name) or "." in name or name == "axes":
            problems.add(place, "a stage's name is letters, digits, '_' and '-' (and not `axes`)")
            continue
        stage = problems.mapping(place, value)
        for key in keys_that_are_no_text(stage, place):
            problems.add(key, f"expected text as a field's name, got {kind(key[-1])}; quote it")
        for key in ("workload", "over"):
            if (key == "workload" or key in stage) and not isinstance(stage.get(key), str):
                got = kind(stage[key]) if key in stage else "nothing"
                wanted = "a workload (train, measure or package.module)" if key == "workload" else "the name of an axis"
                problems.add((*place, key), f"expected {wanted}, got {got}")
        stages[name] = dict(stage)
    return stages


def _stage(name: str, raw: Mapping[str, Any]) -> Stage:
    config = {key: value for key, value in raw.items() if key not in ("workload", "over")}
    return Stage(name, str(raw.get("workload")), config, raw.get("over"))


def _zip(raw: Any, axes: Mapping[str, Axis], known: Known, problems: Problems) -> tuple[tuple[str, ...], ...]:
    """Groups of axes that vary together: `[[a, b], [c, d]]`, or `[a, b]` for one group."""
    groups = [] if raw is None else raw
    if not isinstance(groups, list) or not all(isinstance(item, list | str) for item in groups):
        problems.add(("zip",), f"expected lists of axes, `[[a, b]]`, got {kind(raw)}")
        return ()
    single = any(isinstance(item, str) for item in groups)
    found = [tuple(groups)] if single else [tuple(group) for group in groups]
    seen: set[str] = set()
    for index, group in enumerate(found):
        place: Place = ("zip",) if single else ("zip", index)
        if not all([known.axis(axis, place, problems) for axis in group]):
            continue
        again = [axis for position, axis in enumerate(group) if axis in seen or axis in group[:position]]
        if again:
            problems.add(place, f"axis {again[0]!r} is paired twice")
        seen.update(group)
        counts = {axis: len(axes[axis].levels) for axis in group if axis in axes}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{axis} has {count}" for axis, count in counts.items())
            problems.add(place, f"paired axes need equally many levels: {shown}; an overlay must replace all")
    return tuple(found)


def _selections(field_name: str, raw: Any, known: Known, problems: Problems) -> tuple[Mapping[str, Any], ...]:
    single = isinstance(raw, Mapping)
    items = [] if raw is None else [raw] if single else raw
    if not isinstance(items, list):
        problems.add((field_name,), f"expected `AXIS: LEVEL` or a list of such mappings, got {kind(raw)}")
        return ()
    found: list[Mapping[str, Any]] = []
    for index, item in enumerate(items):
        place: Place = (field_name,) if single else (field_name, index)
        selection = problems.mapping(place, item)
        if not selection:
            problems.add(place, "an empty selection matches everything; name an axis and its levels")
        known.selection(selection, place, problems)
        found.append(dict(selection))
    return tuple(found)
