"""SweepSpec -> Plan: which nodes the trials need, each with its key, and what they share.

A trial sets its levels in the stages' configs, starts at its targets (the stages that no stage and no level names as
an input) and plans what they reach. Two trials whose stages come out with one key share that node.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator import inputs, keys
from orchestrator.errors import PlanError
from orchestrator.inputs import StageRef
from orchestrator.node import InputRef, Node
from orchestrator.space import Trial, apply_settings, trials
from orchestrator.spec import SweepSpec
from workloads.contract import Config, DatasetConfig, Workload, load_workload, walk


@dataclass(frozen=True)
class PlannedTrial:
    """A trial with the nodes it reaches, inputs first, by "stage" or "stage.part"."""

    trial: Trial
    key: str
    nodes: Mapping[str, str]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a sweep needs: its trials, and each distinct node once, inputs before what uses them.

    Attributes:
        missing_data: For each node that needs data which is not there, what is missing, in sentences.
    """

    spec: SweepSpec
    trials: tuple[PlannedTrial, ...]
    nodes: Mapping[str, Node]
    missing_data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def _users(self) -> Mapping[str, list[int]]:
        users: dict[str, list[int]] = {}
        for index, trial in enumerate(self.trials):
            for key in dict.fromkeys(trial.nodes.values()):
                users.setdefault(key, []).append(index)
        return users

    def uses(self, key: str) -> list[int]:
        """The indices of the trials that reach the node."""
        return self._users.get(key, [])


@dataclass(frozen=True)
class _Instance:
    """One stage of one trial, resolved: the keys of its nodes by part (None for a stage that is one node)."""

    config: Config
    keys: Mapping[str | None, str]


@dataclass
class _Planner:
    spec: SweepSpec
    data_dir: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    memo: dict[str, _Instance] = field(default_factory=dict)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def workloads(self) -> Mapping[str, Workload]:
        return {name: load_workload(stage.workload) for name, stage in self.spec.stages.items()}

    @cached_property
    def targets(self) -> tuple[str, ...]:
        named = {ref.stage for raw in _all_raw(self.spec) for ref in inputs.extract(raw)[1].values()}
        return tuple(name for name in self.spec.stages if name not in named)

    def trial(self, trial: Trial) -> PlannedTrial:
        stages = apply_settings(self.spec.stages, trial.settings)
        reached: dict[str, _Instance] = {}
        for target in self.targets:
            self.stage(target, stages, trial, reached, ())
        nodes = {
            (f"{stage}.{part}" if part else stage): key
            for stage, instance in reached.items()
            for part, key in instance.keys.items()
        }
        targets = tuple(name for name in nodes if name.split(".")[0] in self.targets)
        # Without the parts of split stages: a trial that is measured once more is the same trial.
        whole = [instance.keys[None] for instance in reached.values() if None in instance.keys]
        return PlannedTrial(trial, keys.digest([dict(trial.levels), whole]), nodes, targets)

    def stage(
        self,
        name: str,
        stages: Mapping[str, dict[str, Any]],
        trial: Trial,
        reached: dict[str, _Instance],
        above: tuple[str, ...],
    ) -> _Instance:
        """The instance of stage `name` in `trial`, its inputs planned first; adds them to `reached`."""
        if name in reached:
            return reached[name]
        if name in above:
            raise PlanError(f"stages: {' -> '.join((*above, name))} is a cycle (trial {trial.label})")
        raw, refs = inputs.extract(stages[name])
        below = {
            role: self.stage(self._known(ref, name), stages, trial, reached, (*above, name))
            for role, ref in refs.items()
        }
        behind = {role: InputRef(self._only_key(below[role], refs[role], name), refs[role].part) for role in refs}
        reached[name] = self._instance(name, raw, trial, behind, {role: item.config for role, item in below.items()})
        return reached[name]

    def _known(self, ref: StageRef, by: str) -> str:
        if ref.stage not in self.spec.stages:
            raise PlanError(f"stages.{by}: starts from {ref.stage!r}, which is no stage")
        return ref.stage

    def _only_key(self, instance: _Instance, ref: StageRef, by: str) -> str:
        if None not in instance.keys:
            raise PlanError(
                f"stages.{by}: starts from {ref.stage!r}, which measures and leaves no weights to start from"
            )
        return instance.keys[None]

    def _instance(
        self,
        name: str,
        raw: dict[str, Any],
        trial: Trial,
        behind: Mapping[str, InputRef],
        configs: Mapping[str, Config],
    ) -> _Instance:
        roles = {role: str(ref) for role, ref in behind.items()}
        memo_key = json.dumps([self.workloads[name].name, raw, trial.seed, roles], sort_keys=True, default=str)
        if memo_key not in self.memo:
            config = self._resolve(name, raw, configs, trial)
            self.memo[memo_key] = _Instance(config, self._add_nodes(name, config, trial.seed, behind, roles))
        return self.memo[memo_key]

    def _resolve(self, name: str, raw: dict[str, Any], configs: Mapping[str, Config], trial: Trial) -> Config:
        workload = self.workloads[name]
        try:
            return workload.resolve(workload.config.model_validate_json(json.dumps(raw)), configs)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in (name, *first["loc"]))
            raise PlanError(f"{self.spec.document.path}: {place}: {first['msg']} (trial {trial.label})") from error
        except ValueError as error:
            raise PlanError(f"{self.spec.document.path}: stages.{name}: {error} (trial {trial.label})") from error

    def _array_key(self, workload: Workload, config: Config) -> str | None:
        kind = None if workload.run_array is None else workload.array_key(config)
        return None if kind is None else keys.digest([workload.name, workload.version, kind])

    def _add_nodes(
        self, name: str, config: Config, seed: int, behind: Mapping[str, InputRef], roles: Mapping[str, str]
    ) -> dict[str | None, str]:
        workload = self.workloads[name]
        parts: dict[str | None, Config] = {**workload.split(config)} if workload.split else {None: config}
        found: dict[str | None, str] = {}
        siblings = ""
        for part, config_of_part in parts.items():
            key = keys.digest(keys.node_identity(workload, config_of_part, seed, roles, self.data_dir))
            siblings = siblings or key
            dump = config_of_part.model_dump(mode="json", by_alias=True)
            array = self._array_key(workload, config_of_part)
            self.nodes.setdefault(key, Node(key, name, part, workload.name, dump, seed, behind, siblings, array))
            found[part] = key
            sentences = (data.missing(self.data_dir) for data in _datasets(config_of_part))
            if lacking := tuple(sentence for sentence in sentences if sentence):
                self.missing[key] = lacking
        return found


def _datasets(config: Config) -> Iterable[DatasetConfig]:
    """Every data set chosen in a config."""
    return (part for _, part in walk(config) if isinstance(part, DatasetConfig))


def _all_raw(spec: SweepSpec) -> Iterable[dict[str, Any]]:
    """The raw config of every stage as the file has it and as each single level sets it."""
    yield from apply_settings(spec.stages, {}).values()
    for axis in spec.axes.values():
        for level in axis.levels:
            yield from apply_settings(spec.stages, level.settings).values()


def plan(spec: SweepSpec, data_dir: Path, limit: int | None = None) -> Plan:
    """The plan of `spec`, or of its first `limit` trials; data need not be there, what is missing is in `missing_data`.

    Raises:
        PlanError: a combination of levels describes no possible stage.
    """
    planner = _Planner(spec, data_dir)
    planned = tuple(planner.trial(trial) for trial in trials(spec)[:limit])
    return Plan(spec, planned, planner.nodes, planner.missing)
