"""The axes of a sweep file: named levels, dotted paths with their values, and seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import allowed
from orchestrator.sweepfile.paths import OWN, split
from orchestrator.sweepfile.problems import Problems
from orchestrator.sweepfile.yamlfile import Place, kind

Scalar = str | int | float | bool | None

SEED = "seed"
MAX_LEVELS = 100_000
MAX_ADAPTIVE = 1_000  # seeds that a stop rule may ask for
MAX_AXES = 100
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?%")
_AXIS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True)
class Level:
    """One value of an axis: its label, and what it sets by dotted path; {} sets nothing."""

    label: Scalar
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Until:
    """The rule of adaptive seeds: at_least .. at_most of them, until `metric` has this standard error (adaptive.py)."""

    metric: str
    standard_error: float
    at_least: int
    at_most: int


@dataclass(frozen=True)
class Axis:
    """What varies. A dotted axis sets its own path, the label is the value; the levels of `seed` set nothing.

    Attributes:
        until: The rule of adaptive seeds, whose levels are all that it may ask for.
    """

    name: str
    levels: tuple[Level, ...]
    until: Until | None = None


def identity(label: Scalar) -> tuple[str, Scalar]:
    """What tells labels apart: `1` and `true` differ, `1` and `1.0` do not.

    Example:
        >>> identity(1) == identity(True), identity(1) == identity(1.0)
        (False, True)
    """
    if isinstance(label, bool):
        return ("truth", label)
    return ("number" if isinstance(label, int | float) else "text", label)


def read_axes(
    raw: Any, stages: Mapping[str, Mapping[str, Any]], sources: Mapping[str, Place], problems: Problems
) -> dict[str, Axis]:
    """The axes that are right; what is wrong with the others is noted.

    Args:
        raw: The `axes` mapping.
        stages: The raw configs of the stages by name: paths must begin with one.
        sources: Where an axis stands that an overlay has replaced; the others stand below `axes`.
    """
    axes: dict[str, Axis] = {}
    given = problems.mapping(("axes",), raw)
    if len(given) > MAX_AXES:
        problems.add(("axes",), f"{len(given):,} axes; at most {MAX_AXES}")
        return axes
    for name, value in given.items():
        place = sources.get(name, ("axes", name))
        reader = _Reader(str(name), place, stages, problems)
        levels = reader.levels(name, value)
        if levels is not None:
            axes[str(name)] = Axis(str(name), levels, reader.rule)
    return axes


@dataclass
class _Reader:
    axis: str
    place: Place
    stages: Mapping[str, Mapping[str, Any]]
    problems: Problems
    rule: Until | None = None

    def levels(self, name: object, value: Any) -> tuple[Level, ...] | None:
        if name == SEED:
            return self._seeds(value)
        if not isinstance(name, str) or (not _AXIS.fullmatch(name) and not split(name)[1:]):
            return self._refuse("an axis is named by letters, digits, '_' and '-', or by a dotted path STAGE.FIELD")
        return self._values(value) if "." in name else self._named(value)

    def _refuse(self, message: str, *below: Any) -> None:
        self.problems.add((*self.place, *below), message)

    def _seeds(self, value: Any) -> tuple[Level, ...] | None:
        if isinstance(value, int) and not isinstance(value, bool):
            if 1 <= value <= MAX_LEVELS:
                return tuple(Level(seed, {}) for seed in range(value))
            return self._refuse(f"{value} seeds; allowed: 1 to {MAX_LEVELS:,} (`seed: 5` means seeds 0 to 4)")
        if isinstance(value, Mapping):
            self.rule = adaptive_rule(value, self.place, self.problems)
            return tuple(Level(seed, {}) for seed in range(self.rule.at_most)) if self.rule else None
        if not isinstance(value, list):
            ways = "a number of seeds (`5`), a list of seeds or a rule (`{until: ..., at_least: 3, at_most: 20}`)"
            return self._refuse(f"expected {ways}, got {kind(value)}")
        for index, seed in enumerate(value):
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                return self._refuse(f"a seed is a whole number of at least 0, got {kind(seed)}", index)
        return self._distinct(value, [{} for _ in value])

    def _values(self, value: Any) -> tuple[Level, ...] | None:
        if not self._is_path(self.axis, ()):
            return None
        if not isinstance(value, list):
            return self._refuse(f"an axis with a dotted path takes a list of values, got {kind(value)}")
        for index, item in enumerate(value):
            if isinstance(item, Mapping | list):
                way = f"`axes: {{NAME: {{LEVEL: {{{self.axis}: ...}}}}}}`"
                self._refuse(f"{kind(item)} is no plain value; name such levels: {way}", index)
                return None
        return self._distinct(value, [{self.axis: item} for item in value])

    def _named(self, value: Any) -> tuple[Level, ...] | None:
        if not isinstance(value, Mapping):
            return self._refuse(f"expected levels, each with what it sets, got {kind(value)}{self._suggestion()}")
        settings = [self._settings(label, item) for label, item in value.items()]
        return self._distinct(list(value), settings)

    def _suggestion(self) -> str:
        """The stages' fields of the axis' name, where a list of values was meant for one."""
        leaves = [path for stage, raw in self.stages.items() for path in _leaves(raw, stage)]
        paths = [path for path in leaves if path.split(".")[-1] == self.axis]
        meant = f"; did you mean {paths[0]!r}?" if paths else ""
        return f"; a list of values needs a dotted path STAGE.FIELD as the axis' name{meant}"

    def _settings(self, label: Scalar, raw: Any) -> dict[str, Any]:
        place = (*self.place, label)
        if isinstance(label, str) and (not label.isprintable() or not label.strip() or len(label) > 100):
            self.problems.add(place, "the name of a level is 1 to 100 printable characters")
        settings = self.problems.mapping(place, raw)
        return {str(path): value for path, value in settings.items() if self._is_path(path, (label, path))}

    def _is_path(self, path: Any, below: Place) -> bool:
        segments = split(path) if isinstance(path, str) else ()
        if not segments:
            self._refuse(f"{kind(path)} is no dotted path STAGE.FIELD", *below)
        elif segments[0] not in self.stages:
            self._refuse(f"{path!r} begins with no stage; {allowed(segments[0], self.stages)}", *below)
        elif len(segments) == 1:
            self._refuse(f"{path!r} names a stage, not a field of it; write {path}.FIELD", *below)
        elif segments[1] in OWN:
            way = "state it in the stage or in an overlay" if segments[1] == "time_limit" else "make another stage"
            self._refuse(f"`{segments[1]}` cannot vary; {way}", *below)
        else:
            return True
        return False

    def _distinct(self, labels: list[Scalar], settings: list[dict[str, Any]]) -> tuple[Level, ...] | None:
        if not labels:
            return self._refuse("an axis needs at least one level")
        if len(labels) > MAX_LEVELS:
            return self._refuse(f"{len(labels):,} levels; at most {MAX_LEVELS:,}")
        first: dict[tuple[str, Scalar], int] = {}
        for index, label in enumerate(labels):
            earlier = first.setdefault(identity(label), index)
            if earlier != index:
                self._refuse(f"duplicate level {kind(label)}: entry {index + 1} is entry {earlier + 1} again", index)
        return tuple(Level(labels[index], settings[index]) for index in first.values())


def _leaves(raw: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in raw.items():
        yield f"{path}.{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.{key}")


def adaptive_rule(raw: Mapping[Any, Any], place: Place, problems: Problems) -> Until | None:
    """`{until: {metric: M, standard_error: X}, at_least: A, at_most: B}`; None, with problems, where it is wrong."""
    names = ("until", "at_least", "at_most")
    given = problems.fields(place, raw, names, names)
    fields = ("metric", "standard_error")
    rule = problems.fields((*place, "until"), given.get("until"), fields, fields if "until" in given else ())
    metric, error = rule.get("metric"), _positive(rule.get("standard_error"))
    if "metric" in rule and not (isinstance(metric, str) and metric):
        problems.add((*place, "until", "metric"), f"expected the name of a metric, got {kind(metric)}")
    if "standard_error" in rule and error is None:
        message = f"expected a positive number, or percent as in `0.1%`, got {kind(rule['standard_error'])}"
        problems.add((*place, "until", "standard_error"), message)
    least = _count(given, "at_least", 2, place, problems)
    most = _count(given, "at_most", least or 2, place, problems)
    if error is None or least is None or most is None or not (isinstance(metric, str) and metric):
        return None
    return Until(metric, error, least, most)


def _count(given: Mapping[Any, Any], name: str, low: int, place: Place, problems: Problems) -> int | None:
    value = given.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= MAX_ADAPTIVE:
        return value
    if name in given:
        problems.add((*place, name), f"expected a number of seeds, {low} to {MAX_ADAPTIVE:,}, got {kind(value)}")
    return None


def _positive(value: Any) -> float | None:
    """A positive number; `0.1%` is 0.001."""
    if isinstance(value, str) and (percent := _PERCENT.fullmatch(value)):
        value = float(percent[1]) / 100
    usable = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if usable else None
