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

from orchestrator.errors import Problem, SpecError, Where
from orchestrator.figures.spec import FigureSpec, read_figures
from orchestrator.planning import adaptive
from orchestrator.sweepfile import gathering, overlay
from orchestrator.sweepfile.axes import Axis, Level, Scalar, read_axes
from orchestrator.sweepfile.comparisons import (
    ClaimSpec,
    Compare,
    Known,
    TableSpec,
    keys_that_are_no_text,
    read_claims,
    read_tables,
)
from orchestrator.sweepfile.extending import load_extended
from orchestrator.sweepfile.overlay import Overlaid, Setting
from orchestrator.sweepfile.problems import SET, Problems, where_in
from orchestrator.sweepfile.stages import Stage, read_stages
from orchestrator.sweepfile.yamlfile import Document, Place, kind, parse_value

__all__ = [
    "Axis", "ClaimSpec", "Compare", "Level", "Scalar", "Stage", "SweepSpec", "TableSpec", "parse_set", "read",
]  # fmt: skip

FIELDS = (
    *("name", "extends", "title", "source", "stages", "axes", "zip", "where", "exclude"),
    *("tables", "figures", "claims", "scales"),
)


Groups = tuple[tuple[str, ...], ...]
"""Axes that vary together."""


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
    zip: Groups
    where: tuple[Mapping[str, Any], ...]
    exclude: tuple[Mapping[str, Any], ...]
    tables: Mapping[str, TableSpec]
    claims: Mapping[str, ClaimSpec]
    scale: str | None
    overrides: Mapping[str, Any]
    document: Document
    settings: tuple[Setting, ...] = ()
    sources: Mapping[str, Place] = field(default_factory=dict)
    figures: Mapping[str, FigureSpec] = field(default_factory=dict)

    @property
    def record_name(self) -> str:
        """`name`, `name@scale` for a scale other than paper, with eight hex digits of what `--set` said."""
        text = self.name if self.scale in (None, "paper") else f"{self.name}@{self.scale}"
        if not self.overrides:
            return text
        canonical = json.dumps(dict(self.overrides), sort_keys=True, separators=(",", ":"))
        return f"{text}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"

    @property
    def papers(self) -> tuple[str, ...]:
        """The files of published values that tables and figures name, relative to the sweep file."""
        named = [getattr(item, "paper", None) for item in (*self.tables.values(), *self.figures.values())]
        return tuple(dict.fromkeys(paper for paper in named if paper))

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
    problems = Problems(load_extended(path))
    spec = build(problems, scale, overrides)
    problems.stop()
    return spec


def build(problems: Problems, scale: str | None, overrides: Mapping[str, Any]) -> SweepSpec:
    """The sweep of the document of `problems`, as far as it is right; what is wrong is noted."""
    raw = _top(problems.document, problems)
    stages = read_stages(raw.get("stages"), "stages" in raw, problems)
    declared = read_axes(raw.get("axes"), stages, {}, problems)
    layers = overlay.layers(raw.get("scales"), scale, overrides, problems)
    if problems:  # an overlay of what is wrong would only say it twice
        left, axes = Overlaid(stages, {}), declared
    else:
        left = overlay.apply(stages, raw.get("axes") or {}, layers, problems)
        axes = read_axes(left.axes, left.stages, left.sources, problems)
        overlay.note_clashes(left, axes, problems)
    known = Known.of(raw.get("axes"), declared, axes)
    spec = SweepSpec(
        name=str(raw.get("name")),
        title=str(raw.get("title") or ""),
        source=dict(problems.mapping(("source",), raw.get("source"))),
        stages={key: Stage.of(key, value) for key, value in left.stages.items()},
        axes=axes,
        zip=_zip(raw.get("zip"), left.touched, axes, known, problems),
        where=_selections("where", raw.get("where"), known, problems),
        exclude=_selections("exclude", raw.get("exclude"), known, problems),
        tables=read_tables(raw.get("tables"), known, problems),
        claims=read_claims(raw.get("claims"), known, problems),
        figures=read_figures(raw.get("figures"), known, problems),
        scale=scale,
        overrides=dict(overrides),
        document=problems.document,
        settings=tuple(left.settings),
        sources=left.sources,
    )
    gathering.note_conflicts(spec, known, problems)
    adaptive.note_conflicts(spec, problems)
    return spec


def parse_set(text: str) -> tuple[str, Any]:
    """`PATH=VALUE` of `--set`; the value is read as in a sweep file.

    Raises:
        SpecError: no `=`, no path, no YAML value, or one with a name that is no text: the store keeps it as JSON.

    Example:
        >>> parse_set("train.optimizer.lr=5e-3"), parse_set("axes.start=[random]")
        (('train.optimizer.lr', 0.005), ('axes.start', ['random']))
    """
    path, separator, value = text.partition("=")
    if not separator or not path.strip():
        raise SpecError([Problem(None, SET, f"expected PATH=VALUE, got {text!r}")])
    place = f"{SET} {path.strip()}"
    parsed = parse_value(value, place)
    if nameless := [*keys_that_are_no_text(parsed, (place,))]:
        said = [f"expected text as a name, got {kind(where[-1])}; quote it" for where in nameless]
        raise SpecError([Problem(None, place, message) for message in dict.fromkeys(said)])
    return path.strip(), parsed


def _top(document: Document, problems: Problems) -> Mapping[Any, Any]:
    """The fields of the file; a field of the wrong form is noted."""
    raw = problems.fields((), document.value, FIELDS, ("name", "stages"))
    if "name" in raw:
        problems.name(("name",), raw["name"])
    if not isinstance(raw.get("title"), str | None):
        problems.add(("title",), f"expected text, got {kind(raw['title'])}")
    return raw


def _zip(raw: Any, touched: set[str], axes: Mapping[str, Axis], known: Known, problems: Problems) -> Groups:
    """Groups of axes that vary together: `[[a, b], [c, d]]`, or `[a, b]` for one group."""
    if not isinstance(raw, list | None):
        problems.add(("zip",), f"expected lists of axes, `[[a, b]]`, got {kind(raw)}")
        return ()
    single = bool(raw) and not any(isinstance(item, list) for item in raw)
    found: list[tuple[str, ...]] = []
    for index, group in enumerate([raw] if single else raw or []):
        place: Place = ("zip",) if single else ("zip", index)
        if not isinstance(group, list):
            problems.add(place, f"expected a list of axes, got {kind(group)}")
        elif all([_is_axis(axis, (*place, position), known, problems) for position, axis in enumerate(group)]):
            wrong = _unpaired(group, [axis for earlier in found for axis in earlier], axes, touched)
            if wrong is None:
                found.append(tuple(group))
            else:
                problems.add(place, wrong)
    return tuple(found)


def _is_axis(name: Any, place: Place, known: Known, problems: Problems) -> bool:
    if isinstance(name, str):
        return known.axis(name, place, problems)
    problems.add(place, f"expected the name of an axis, got {kind(name)}")
    return False


def _unpaired(group: list[str], before: list[str], axes: Mapping[str, Axis], touched: set[str]) -> str | None:
    """Why the axes of a group cannot vary together; None if they can."""
    again = [axis for position, axis in enumerate(group) if axis in before or axis in group[:position]]
    if again:
        return f"axis {again[0]!r} is paired twice"
    if len(group) < 2:
        return "at least two axes make a pair"
    counts = {axis: len(axes[axis].levels) for axis in group if axis in axes}
    if len(set(counts.values())) < 2:
        return None
    shown = ", ".join(f"{axis} has {count}" for axis, count in counts.items())
    why = "; an overlay must replace all of them" if touched.intersection(group) else ""
    return f"paired axes need equally many levels: {shown}{why}"


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
        if not selection and (item is None or isinstance(item, Mapping)):
            problems.add(place, "an empty selection matches everything; name an axis and its levels")
        known.selection(selection, place, problems)
        found.append(dict(selection))
    return tuple(found)
