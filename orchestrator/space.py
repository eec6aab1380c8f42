"""Axes -> trials: the grid, paired axes, and what `where` and `exclude` leave of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.spec import Stage, SweepSpec
from orchestrator.sweepfile.axes import Axis, Level, Scalar, identity
from orchestrator.sweepfile.paths import clash, copied, set_path, split

MAX_TRIALS = 100_000


@dataclass(frozen=True)
class Trial:
    """One combination of levels.

    Attributes:
        levels: Axis name -> label, in the order of the axes; with "seed" if that is an axis.
        settings: What the levels set by dotted path.
        seed: The seed of every stage; 0 without a seed axis.
    """

    levels: Mapping[str, Scalar]
    settings: Mapping[str, Any]
    seed: int

    @property
    def label(self) -> str:
        """`start=random weight_decay=0.0005 seed=3`: axes by their last part, whole where two share that."""
        short = [name.rsplit(".", 1)[-1] for name in self.levels]
        names = [last if short.count(last) == 1 else name for name, last in zip(self.levels, short, strict=True)]
        return " ".join(f"{name}={_shown(label)}" for name, label in zip(names, self.levels.values(), strict=True))


def _shown(label: Scalar) -> str:
    if label is None:
        return "null"
    return str(label).lower() if isinstance(label, bool) else str(label)


_Choice = tuple[tuple[str, Level], ...]
"""One step along one dimension of the grid: a level of an axis, or the levels of axes that are paired."""


def trials(spec: SweepSpec) -> tuple[Trial, ...]:
    """Every combination that is left, in the axes' order, the last axis fastest (the seed only where it stands last).

    Paired axes vary together at the place of the first.

    Raises:
        SpecError: more than 100,000 combinations, none left, or two axes that set one path.
    """
    dimensions = _dimensions(spec)
    size = math.prod(len(choices) for choices in dimensions)
    if size > MAX_TRIALS:
        product = " x ".join(str(len(choices)) for choices in dimensions)
        raise _refusal(spec, f"{product} = {size:,} combinations; at most {MAX_TRIALS:,}")
    keep, drop = [_Selection.of(item) for item in spec.where], [_Selection.of(item) for item in spec.exclude]
    order = {name: index for index, name in enumerate(spec.axes)}
    found: list[Trial] = []
    entangled = _entangled(spec.axes)
    for steps in itertools.product(*dimensions):
        chosen = dict(sorted((pair for step in steps for pair in step), key=lambda pair: order[pair[0]]))
        levels = {name: level.label for name, level in chosen.items()}
        if (keep and not any(item.matches(levels) for item in keep)) or any(item.matches(levels) for item in drop):
            continue
        _refuse_contradiction(spec, chosen, entangled)
        settings = {path: value for level in chosen.values() for path, value in level.settings.items()}
        seed = levels.get("seed", 0)
        found.append(Trial(levels, settings, seed if isinstance(seed, int) else 0))
    if not found:
        message = f"`where` and `exclude` leave none of the {size:,} combinations"
        raise _refusal(spec, message, "where" if spec.where else "exclude")
    return tuple(found)


def apply_settings(stages: Mapping[str, Stage], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The raw config of every stage, copied, with each dotted path set; deeper paths last.

    Raises:
        SpecError: a path leads through a value that is no mapping, or through a list without such an entry.
    """
    configs = {name: copied(stage.config) for name, stage in stages.items()}
    for path in sorted(settings, key=lambda text: text.count(".")):
        stage, *below = split(path)
        try:
            set_path(configs[stage], below, settings[path])
        except LookupError as error:
            raise SpecError([Problem(None, path, str(error.args[0]))]) from None
    return configs


def every_config(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    """The raw config of every stage as the file has it, and as each single level sets it."""
    yield from apply_settings(spec.stages, {}).values()
    for axis in spec.axes.values():
        for level in axis.levels:
            if level.settings:
                yield from apply_settings(spec.stages, level.settings).values()


def _dimensions(spec: SweepSpec) -> list[list[_Choice]]:
    group_of = {axis: group for group in spec.zip for axis in group}
    dimensions: list[list[_Choice]] = []
    done: set[str] = set()
    for name in spec.axes:
        if name in done:
            continue
        group = group_of.get(name, (name,))
        done.update(group)
        rows = zip(*(spec.axes[axis].levels for axis in group), strict=True)
        dimensions.append([tuple(zip(group, row, strict=True)) for row in rows])
    return dimensions


@dataclass(frozen=True)
class _Selection:
    """The combinations that an entry of `where` or `exclude` means."""

    labels: Mapping[str, frozenset[tuple[str, Scalar]]]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> _Selection:
        return cls({axis: frozenset(map(identity, _listed(labels))) for axis, labels in raw.items()})

    def matches(self, levels: Mapping[str, Scalar]) -> bool:
        return all(identity(levels[axis]) in labels for axis, labels in self.labels.items())


def _listed(labels: Any) -> Iterable[Scalar]:
    return labels if isinstance(labels, list | tuple) else [labels]


def _entangled(axes: Mapping[str, Axis]) -> list[tuple[str, str]]:
    """The pairs of axes of which one sets, in some level, a path that the other sets, or one above or below it."""
    paths = {name: {split(path) for level in _distinct(axis) for path in level.settings} for name, axis in axes.items()}
    above = {name: {path[:end] for path in found for end in range(1, len(path) + 1)} for name, found in paths.items()}
    return [(a, b) for a, b in itertools.combinations(axes, 2) if paths[a] & above[b] or paths[b] & above[a]]


def _distinct(axis: Axis) -> tuple[Level, ...]:
    """Levels that state every path which the axis sets: all levels of a dotted axis set the same one."""
    return axis.levels[:1] if "." in axis.name else axis.levels


def _refuse_contradiction(spec: SweepSpec, chosen: Mapping[str, Level], entangled: Iterable[tuple[str, str]]) -> None:
    for first, second in entangled:
        for path, other in itertools.product(chosen[first].settings, chosen[second].settings):
            if clash(split(path), chosen[first].settings[path], split(other), chosen[second].settings[other]):
                label = chosen[second].label
                place = ("axes", second) if "." in second else ("axes", second, label, other)
                also = f"level {_shown(chosen[first].label)} of axis {first} sets {path}"
                message = f"level {_shown(label)} sets {other}; {also}: one path cannot be set by two axes"
                raise SpecError([Problem(spec.where_is(*place), f"axes.{second}", message)])


def _refusal(spec: SweepSpec, message: str, place: str = "axes") -> SpecError:
    return SpecError([Problem(spec.where_is(place), place, message)])
