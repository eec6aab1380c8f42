"""`over: AXIS`: a stage that gathers the nodes of all levels of an axis.

The trials that agree on every other axis are one group (axes that are paired with AXIS vary with it). Its gathering
stage is one node: the input ROLE is there once a trial, as ROLE.0, ROLE.1 ... in the order of AXIS' levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.sweepfile.axes import identity
from orchestrator.sweepfile.paths import split

if TYPE_CHECKING:
    from orchestrator.space import Trial
    from orchestrator.spec import SweepSpec
    from orchestrator.sweepfile.comparisons import Known
    from orchestrator.sweepfile.problems import Problems
    from orchestrator.sweepfile.yamlfile import Place


def varying(spec: SweepSpec, axis: str) -> tuple[str, ...]:
    """The axes that vary within a group that gathers over `axis`: it, and those paired with it."""
    return next((group for group in spec.zip if axis in group), (axis,))


def note_conflicts(spec: SweepSpec, known: Known, problems: Problems) -> None:
    """Note stages that gather over no axis, and levels that would make a gathering stage several."""
    for name, stage in spec.stages.items():
        if stage.over is None or not known.axis(stage.over, ("stages", name, "over"), problems):
            continue
        for axis in varying(spec, stage.over):
            for path, place in _settings_of(spec, axis, name):
                also = "" if axis == stage.over else f", with which axis {axis} is paired"
                message = f"sets {path}, but stage {name} gathers over {stage.over}{also}: it has no level of it"
                problems.add(place, message)


def _settings_of(spec: SweepSpec, axis: str, stage: str) -> list[tuple[str, Place]]:
    """The paths of a stage that levels of an axis set, and where they say so; a dotted axis counts once."""
    if axis not in spec.axes:
        return []
    if "." in axis:
        return [(axis, spec.place("axes", axis))] if split(axis)[0] == stage else []
    found = [(level.label, path) for level in spec.axes[axis].levels for path in level.settings]
    return [(path, spec.place("axes", axis, label, path)) for label, path in found if split(path)[0] == stage]


_Group = tuple[Any, ...]
"""What the trials of a group have in common."""


@dataclass
class Groups:
    """The groups of a sweep's trials, by the axis that is gathered over."""

    spec: SweepSpec
    trials: Sequence[Trial]
    _members: dict[str, dict[_Group, list[Trial]]] = field(default_factory=dict)

    def of(self, axis: str, trial: Trial) -> tuple[_Group, Sequence[Trial]]:
        """The group of a trial, and its trials in the order of the axis' levels."""
        if axis not in self._members:
            self._members[axis] = self._split(axis)
        group = self._common(axis, trial.levels)
        return group, self._members[axis][group]

    def setting(self, stage: str) -> frozenset[str]:
        """The axes of which a level sets something in a stage."""
        return self._setting.get(stage, frozenset())

    @cached_property
    def _setting(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for axis in self.spec.axes.values():
            for path in {path for level in axis.levels for path in level.settings}:
                stage = split(path)[0]
                found[stage] = found.get(stage, frozenset()) | {axis.name}
        return found

    def _common(self, axis: str, levels: Mapping[str, Any]) -> _Group:
        vary = varying(self.spec, axis)
        return tuple((name, identity(label)) for name, label in levels.items() if name not in vary)

    def _split(self, axis: str) -> dict[_Group, list[Trial]]:
        order = {identity(level.label): place for place, level in enumerate(self.spec.axes[axis].levels)}
        found: dict[_Group, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(self._common(axis, trial.levels), []).append(trial)
        for members in found.values():
            members.sort(key=lambda trial: order[identity(trial.levels[axis])])
        return found
