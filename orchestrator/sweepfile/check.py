"""Whether the stages of a sweep are right: every config against its workload's Config class, every level, every input.

The configs are checked in real combinations, few of them: enough that every level of every axis is in one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import MOST, SpecError, allowed
from orchestrator.space import Trial, apply_settings, trials
from orchestrator.spec import FIELDS, SweepSpec, build
from orchestrator.sweepfile import inputs
from orchestrator.sweepfile.axes import Axis, Level, identity
from orchestrator.sweepfile.comparisons import keys_that_are_no_text
from orchestrator.sweepfile.explain import complaints, no_such_path
from orchestrator.sweepfile.extending import load_extended
from orchestrator.sweepfile.inputs import StageRef
from orchestrator.sweepfile.paths import OWN, Path, entry_name, split
from orchestrator.sweepfile.problems import SET, Problems
from orchestrator.sweepfile.schema import item
from orchestrator.sweepfile.stages import with_text_keys, workload
from orchestrator.sweepfile.yamlfile import Place, kind
from workloads.contract import Workload

ELSEWHERE = ("name", "title", "source", "tables", "figures", "claims", "extends")
"""What may be wrong in a file while its stages and trials are known."""


def check(spec: SweepSpec) -> None:
    """Raises SpecError with everything that is wrong with the stages of `spec`; needs no torch."""
    problems = Problems(spec.document)
    _check(spec, problems, whole=True)
    problems.stop()


def read_checked(path: FilePath, scale: str | None, overrides: Mapping[str, Any]) -> SweepSpec:
    """`spec.read` and `check` in one: raises SpecError with everything that is wrong with the file.

    Where nothing is, with what is wrong in the files of published values that it names.
    """
    from orchestrator.findings import published

    problems = Problems(load_extended(path))
    spec = build(problems, scale, overrides)
    _check(spec, problems, whole=problems.spare(*(name for name in FIELDS if name not in ELSEWHERE), SET))
    problems.stop()
    published.check(spec)
    return spec


def _check(spec: SweepSpec, problems: Problems, whole: bool) -> None:
    checker = _Checker(spec, problems, whole)
    checker.paths()
    checker.combinations()


@dataclass
class _Checker:
    """Checks the stages of a sweep.

    Attributes:
        whole: Whether stages and axes are all there; else only what a value that is stated says is wrong counts, since
            what is missing, or does not fit together, may stand in what could not be read.
    """

    spec: SweepSpec
    problems: Problems
    whole: bool
    workloads: dict[str, Workload] = field(default_factory=dict)
    checked: set[tuple[str, str]] = field(default_factory=set)
    nowhere: set[Path] = field(default_factory=set)
    cyclic: bool = False
    absent: set[Place] = field(default_factory=set)
    wrong: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, stage in self.spec.stages.items():
            if not stage.workload:
                continue
            try:
                self.workloads[name] = workload(stage.workload)
            except LookupError as error:
                self.problems.add(("stages", name, "workload"), str(error.args[0]))

    def paths(self) -> None:
        """Every path that a level or an overlay sets exists in its workload."""
        for setting in self.spec.settings:
            self._path(setting.path, setting.source)
        for axis in self.spec.axes.values():
            for path in dict.fromkeys(path for level in axis.levels for path in level.settings):
                label = next(level.label for level in axis.levels if path in level.settings)
                below = () if path == axis.name else (label, path)
                self._path(split(path), self.spec.place("axes", axis.name, *below))

    def _path(self, path: Path, place: Place) -> None:
        workload = self.workloads.get(path[0])
        if workload is None or path[1] == "from" or path[1] in OWN:
            return
        wrong = no_such_path(workload.config, path[1:])
        if wrong:
            self.nowhere.add(path)
            self.problems.add(place, f"stage {path[0]} (workload {workload.name}): {wrong}")

    def combinations(self) -> None:
        """The stages of as many trials as it takes to see every level."""
        starting: set[str] = set()
        for trial in _covering(self.spec, self.problems) if self.whole else _one_by_one(self.spec):
            settings = {path: value for path, value in trial.settings.items() if split(path) not in self.nowhere}
            try:
                stages = apply_settings(self.spec.stages, settings)
            except SpecError as error:
                self._unsettable(trial, error)
                continue
            references = {name: self._stage(name, raw, trial) for name, raw in stages.items()}
            starting.update(name for name, found in references.items() if found)
            self._cycles({name: {ref.stage for ref in found.values()} for name, found in references.items()}, trial)
        for name, stage in self.spec.stages.items():
            if stage.over is not None and self.checked and self.whole and name not in starting:
                self.problems.add(("stages", name, "over"), "gathers what the stage starts from: it starts from none")

    def _unsettable(self, trial: Trial, error: SpecError) -> None:
        for problem in error.problems:
            if self._is_wrong_itself(split(problem.field)[0]):
                continue
            source = self._level_place(trial, split(problem.field))
            if source and source[:2] == ("axes", problem.field):
                source = source[:2]  # every level of a dotted axis fails alike
            self.problems.add(source or self.spec.place("stages", *split(problem.field)), problem.message)

    def _is_wrong_itself(self, stage: str) -> bool:
        """Whether something that a stage states is wrong before any level sets anything; notes it."""
        if stage not in self.wrong:
            alone = _Checker(self.spec, Problems(self.spec.document), whole=False)
            alone._stage(stage, self.spec.stages[stage].config, Trial({}, {}, 0))
            self.problems.include(alone.problems)
            self.wrong[stage] = bool(alone.problems)
        return self.wrong[stage]

    def _stage(self, name: str, raw: dict[str, Any], trial: Trial) -> Mapping[str, StageRef]:
        """Check one stage of one trial; returns the stages that it starts from."""
        text = json.dumps(raw)
        nameless = [*keys_that_are_no_text(raw, ())]
        closed, references = inputs.extract(with_text_keys(raw) if nameless else raw)
        if (name, text) in self.checked:
            return references
        self.checked.add((name, text))
        for path in nameless:
            said = f"expected text as a field's name, got {kind(path[-1])}; quote it"
            self._note(name, path, raw, trial, said)  # pyright: ignore[reportArgumentType] the key that is no text
        for role, reference in references.items():
            if reference.stage not in self.spec.stages and not self._is_stated(("stages", reference.stage)):
                message = f"no stage {reference.stage!r}; {allowed(reference.stage, self.spec.stages)}"
                self._note(name, _input_path(raw, role), raw, trial, message)
        if name in self.workloads:
            self._validate(name, closed, trial)
        return references

    def _validate(self, name: str, raw: dict[str, Any], trial: Trial) -> None:
        model = self.workloads[name].config
        try:
            model.model_validate_json(json.dumps(raw))
        except ValidationError as error:
            for complaint in complaints(error, raw, model):
                self._note(name, complaint.path, raw, trial, complaint.message)

    def _note(self, stage: str, path: tuple[str | int, ...], raw: Any, trial: Trial, message: str) -> None:
        """Note a problem of a stage where the wrong value was written: in a level, an overlay or the stage."""
        named = (stage, *_by_name(path, raw))
        if any(named[: len(known)] == known for known in self.nowhere):
            return
        source = self._level_place(trial, named)
        if source is None:
            overlaid = self.spec.place("stages", *named)
            source = overlaid if overlaid[0] != "stages" else ("stages", stage, *path)
        if not self.whole and (not path or not self._is_stated(source)):
            return
        if source in self.absent:
            return
        if message.startswith("missing; "):
            self.absent.add(source)
        elsewhere = source[0] != "stages"
        self.problems.add(source, f"{'.'.join(named)}: {message}" if elsewhere else message)

    def _is_stated(self, place: Place) -> bool:
        return place[:1] == (SET,) or place in self.spec.document.positions

    def _level_place(self, trial: Trial, path: Path) -> Place | None:
        """The place in `axes` of the level that set `path` or what it lies in; the deepest where several did."""
        found: tuple[int, Place] | None = None
        for name, label in trial.levels.items():
            index, level = _level(self.spec.axes[name], label)
            for setting in level.settings:
                segments = split(setting)
                if path[: len(segments)] == segments and (found is None or len(segments) > found[0]):
                    below = (index,) if setting == name else (label, setting)
                    found = len(segments), self.spec.place("axes", name, *below, *path[len(segments) :])
        return found and found[1]

    def _cycles(self, graph: Mapping[str, set[str]], trial: Trial) -> None:
        done: set[str] = set()
        for start in graph:
            cycle = _cycle(graph, start, (), done)
            if cycle and not self.cyclic:
                self.cyclic = True
                # Named at the stage that stands first, so that one cycle is one problem.
                first = min(range(len(cycle)), key=lambda index: [*graph].index(cycle[index]))
                loop = (*cycle[first:], *cycle[:first])
                source = self._level_place(trial, (loop[0], "from")) or self.spec.place("stages", loop[0])
                self.problems.add(source, f"stages start from each other in a cycle: {' -> '.join((*loop, loop[0]))}")
                return


def _cycle(graph: Mapping[str, set[str]], stage: str, above: tuple[str, ...], done: set[str]) -> tuple[str, ...]:
    """The stages of a cycle that `stage` leads to, or ()."""
    if stage in above:
        return above[above.index(stage) :]
    if stage in done:
        return ()
    for below in sorted(graph.get(stage, ())):
        if found := _cycle(graph, below, (*above, stage), done):
            return found
    done.add(stage)
    return ()


def _covering(spec: SweepSpec, problems: Problems) -> Iterator[Trial]:
    """Trials that have every level (seeds apart) and every pair of named levels that meet; none if there are none."""
    try:
        every = trials(spec)
    except SpecError as error:
        problems.extend(error)
        return
    axes = [axis for axis in spec.axes.values() if axis.name != "seed"]
    levels = [(axis.name, identity(level.label)) for axis in axes for level in axis.levels]
    named = [item for item in levels if "." not in item[0]]
    wanted = {(item,) for item in levels} | {(a, b) for a, b in itertools.combinations(named, 2) if a[0] != b[0]}
    for index, trial in enumerate(every):
        has = [(axis.name, identity(trial.levels[axis.name])) for axis in axes]
        covered = {(item,) for item in has} | set(itertools.combinations(has, 2))
        if index == 0 or not wanted.isdisjoint(covered):
            wanted -= covered
            yield trial
        if not wanted:
            return


def _one_by_one(spec: SweepSpec) -> Iterator[Trial]:
    """The file as it stands, then with each of the first levels alone: no real trials."""
    yield Trial({}, {}, 0)
    levels = [(axis.name, level) for axis in spec.axes.values() for level in axis.levels[:MOST]]
    for name, level in levels[:MOST]:
        yield Trial({name: level.label}, level.settings, 0)


def _level(axis: Axis, label: Any) -> tuple[int, Level]:
    wanted = identity(label)
    return next((index, level) for index, level in enumerate(axis.levels) if identity(level.label) == wanted)


def _by_name(path: tuple[str | int, ...], raw: Any) -> Path:
    """`path` with entries of lists by their names, as dotted paths have them."""
    names: list[str] = []
    for part in path:
        raw = item(raw, part)
        name = entry_name(raw) if isinstance(part, int) else None
        names.append(name if isinstance(name, str) else str(part))
    return tuple(names)


def _input_path(raw: Mapping[str, Any], role: str) -> tuple[str, ...]:
    """Where the input of `role` is named: `from`, `from.ROLE` or HOLDER.from."""
    top = raw.get("from")
    if isinstance(top, Mapping) and role in top:
        return ("from", role)
    return ("from",) if role == "input" and isinstance(top, str) else (*role.split("."), "from")
