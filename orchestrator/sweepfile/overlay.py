"""Scales and `--set`: what they replace in the stages and axes of a file.

A key of an overlay is
    an axis, or `axes.NAME`   replaces that axis. A list or a scalar picks levels of a named axis by name; a scalar
                              fixes a dotted axis to that value; `seed: 2` means seeds 0 and 1, also in a file
                              without seeds.
    STAGE.FIELD...            replaces the whole value there.
    *.FIELD...                does so in every stage whose workload has that field; `*.time_limit` in every stage.
                              Nothing is invented: what a part of a config (`*.data.name`, `*.model`) says is set only
                              in stages that state that part, so that a stage which leaves its data or model to its
                              input still does. A plain field (`*.threads`) is set wherever the workload has it.
The scale comes first, then `--set`; within each, wildcards come first and deeper paths last, whatever their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import allowed
from orchestrator.sweepfile.axes import SEED, Axis, identity
from orchestrator.sweepfile.paths import Path, clash, copied, set_path, split
from orchestrator.sweepfile.problems import SET, Problems, dotted
from orchestrator.sweepfile.schema import fields, holds_model, walk
from orchestrator.sweepfile.stages import note_time_limit, workload
from orchestrator.sweepfile.yamlfile import Place, kind

Layer = tuple[Place, Mapping[Any, Any]]
"""Where an overlay stands, and its keys and values."""


@dataclass(frozen=True)
class Setting:
    """A path of a stage that an overlay set, and where it says so."""

    path: Path
    value: Any
    source: Place


@dataclass
class Overlaid:
    """Stages (raw, with `workload`) and axes as overlays leave them.

    Attributes:
        sources: Where the axes stand that an overlay wrote anew.
        touched: The axes that an overlay replaced or picked levels of.
        settings: What overlays set in stages, the last word last.
    """

    stages: dict[str, dict[str, Any]]
    axes: dict[Any, Any]
    sources: dict[str, Place] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)


def apply(stages: Mapping[str, Any], axes: Mapping[Any, Any], layers: Iterable[Layer], problems: Problems) -> Overlaid:
    """The stages and axes after every layer what cannot be applied is noted."""
    result = Overlaid({name: copied(raw) for name, raw in stages.items()}, dict(axes))
    overlay = _Overlay(result, dict(axes), problems)
    for place, layer in layers:
        named: dict[str, Place] = {}
        for key in sorted(layer, key=lambda key: (not str(key).startswith("*."), str(key).count("."))):
            overlay.set(str(key), layer[key], (*place, key), named)
    return result


def note_clashes(result: Overlaid, axes: Mapping[str, Axis], problems: Problems) -> None:
    """Note what both an overlay and a level of an axis set, where the overlay left that axis as it was."""
    if not result.settings:
        return
    left = [(name, level) for name, axis in axes.items() if name not in result.touched for level in axis.levels]
    for axis, level in left:
        for path, value in level.settings.items():
            for setting in result.settings:
                segments = split(path)
                if setting.path[: len(segments)] == segments or clash(setting.path, setting.value, segments, value):
                    message = f"sets {'.'.join(setting.path)}, which axis {axis} sets too"
                    problems.add(setting.source, f"{message}; replace the axis instead: `axes.{axis}: ...`")


@dataclass
class _Overlay:
    result: Overlaid
    declared: dict[Any, Any]
    problems: Problems

    def set(self, key: str, value: Any, source: Place, named: dict[str, Place]) -> None:
        """Apply one key; `named` are the axes that its layer has replaced so far."""
        axis = key.removeprefix("axes.")
        segments = split(key)
        if axis in self.result.axes or axis == "seed":
            if axis in named:
                self.problems.add(source, f"replaces axis {axis} again; {dotted(named[axis])} does so too")
            named[axis] = source
            self.result.touched.add(axis)
            self._axis(axis, value, source)
        elif key.startswith("axes."):
            self.problems.add(source, f"no axis {axis!r}; {allowed(axis, self.result.axes)}")
        elif len(segments) > 1 and segments[0] == "*":
            self._everywhere(segments[1:], value, source)
        elif len(segments) > 1 and segments[0] in self.result.stages:
            self._stage(segments, value, source)
        else:
            ways = [*map(str, self.result.axes), *(f"{name}.FIELD" for name in self.result.stages), "*.FIELD"]
            near = allowed(key.split(".")[0], self.result.stages).partition("did you mean ")[2] if segments[1:] else ""
            meant = f"; did you mean '{near[1:-2]}.{'.'.join(segments[1:])}'?" if near else ""
            self.problems.add(source, f"names no axis and no path of a stage; {allowed(key, ways)}{meant}")

    def _axis(self, name: str, value: Any, source: Place) -> None:
        levels = self.declared.get(name)
        if isinstance(levels, Mapping) and not isinstance(value, Mapping) and name != SEED:
            self._pick(name, levels, value if isinstance(value, list) else [value], source)
            return
        scalar = not isinstance(value, Mapping | list)
        self.result.axes[name] = [value] if scalar and name != "seed" else value
        self.result.sources[name] = source
        if isinstance(levels, Mapping):
            self.declared[name] = value

    def _pick(self, name: str, levels: Mapping[Any, Any], labels: list[Any], source: Place) -> None:
        """Keep some levels of a named axis; they still stand where the file states them."""
        known = {identity(label): label for label in levels}
        picked: dict[Any, Any] = {}
        for label in labels:
            if isinstance(label, list | Mapping) or identity(label) not in known:
                self.problems.add(source, f"{kind(label)} is no level of axis {name}; {allowed(label, levels)}")
            else:
                picked[known[identity(label)]] = levels[known[identity(label)]]
        if not labels:
            self.problems.add(source, "an axis needs at least one level")
        if picked:
            self.result.axes[name] = picked

    def _stage(self, segments: Path, value: Any, source: Place) -> None:
        if segments[1] in ("workload", "over"):
            self.problems.add(source, f"`{segments[1]}` of a stage cannot be replaced; make another stage")
            return
        if segments[1] == "time_limit":
            if segments[2:]:
                self.problems.add(source, "a time limit has no fields")
                return
            note_time_limit(value, source, self.problems)
        try:
            set_path(self.result.stages[segments[0]], segments[1:], value)
        except LookupError as error:
            self.problems.add(source, str(error.args[0]))
            return
        self.result.settings.append(Setting(segments, copied(value), source))

    def _everywhere(self, path: Path, value: Any, source: Place) -> None:
        if path[0] == "time_limit":
            for name in self.result.stages:
                self._stage((name, *path), value, source)
            return
        models = {name: self._model(name) for name in self.result.stages}
        if any(model is None for model in models.values()):
            return
        matching = [name for name, raw in self.result.stages.items() if _takes(raw, path, models[name])]
        for name in matching:
            self._stage((name, *path), value, source)
        if not matching:
            known = {item for model in models.values() for item in fields(model)}
            stated = any(walk(model, path) for model in models.values())
            holder = ".".join(path[:-1]) or path[0]
            why = f"no stage states {holder}" if stated else "no stage's workload has that field"
            self.problems.add(source, why + ("" if path[0] in known else f"; {allowed(path[0], sorted(known))}"))

    def _model(self, stage: str) -> Any:
        """The config class of a stage; None, with a problem, where its workload cannot be loaded."""
        name = self.result.stages[stage].get("workload")
        try:
            return workload(str(name)).config
        except LookupError as error:
            self.problems.add(("stages", stage, "workload"), str(error.args[0]))
            return None


def _takes(raw: Mapping[str, Any], path: Path, model: Any) -> bool:
    """Whether `*.PATH` sets something in a stage (see the module's rules)."""
    shapes = walk(model, path)
    if not shapes:
        return False
    if len(path) == 1:
        return path[0] in raw or not holds_model(shapes)
    return all(isinstance(node, Mapping | list) for node in _holders(raw, path))


def _holders(raw: Any, path: Path) -> Iterator[Any]:
    """The values above the last segment of `path`; an entry of a list counts if it is named."""
    for segment in path[:-1]:
        if isinstance(raw, list):
            named = [item for item in raw if (item.get("name") if isinstance(item, Mapping) else item) == segment]
            raw = {} if named and isinstance(named[0], str) else named[0] if named else None
        else:
            raw = raw.get(segment) if isinstance(raw, Mapping) else None
        yield raw


def layers(raw: Any, scale: str | None, overrides: Mapping[str, Any], problems: Problems) -> list[Layer]:
    """The overlays that were asked for, in order. `paper` is the file as it stands unless the file says otherwise."""
    scales = problems.mapping(("scales",), raw)
    for name, layer in scales.items():
        problems.name(("scales", name), name)
        for key in problems.mapping(("scales", name), layer):
            if not isinstance(key, str):
                problems.add(("scales", name, key), f"expected the path of what to replace, got {kind(key)}")
    found: list[Layer] = []
    if scale is not None and scale in scales and isinstance(scales[scale], Mapping):
        found.append((("scales", scale), scales[scale]))
    elif scale is not None and scale not in scales and scale != "paper":
        problems.add(("scales",), f"no scale {scale[:200]!r}; {allowed(scale, [*scales, 'paper'])}")
    return [*found, ((SET,), overrides)]
