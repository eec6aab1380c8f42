"""SweepSpec -> Plan: which nodes the trials need, each with its key, and what they share.

A trial sets its levels in the stages' configs, starts at its targets (the stages that no stage and no level names as
an input) and plans what they reach. Two trials whose stages come out with one key share that node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import PlanError, Problem
from orchestrator.planning import keys
from orchestrator.planning.node import InputRef, Node
from orchestrator.planning.recipe import Recipe, Recipes
from orchestrator.space import Trial, apply_settings, every_config, trials
from orchestrator.spec import SweepSpec
from orchestrator.sweepfile import inputs
from orchestrator.sweepfile.axes import SEED
from orchestrator.sweepfile.gathering import Groups, varying
from orchestrator.sweepfile.paths import OWN
from orchestrator.sweepfile.problems import dotted
from orchestrator.sweepfile.schema import fields
from workloads.contract import Config, Workload, load_workload


@dataclass(frozen=True)
class PlannedTrial:
    """A trial with the nodes it reaches, inputs first, by "stage" or "stage.part".

    Attributes:
        gathered: For each stage that gathers, or stands behind one that does, the axes whose levels share its node.
    """

    trial: Trial
    key: str
    nodes: Mapping[str, str]
    targets: tuple[str, ...]
    gathered: Mapping[str, frozenset[str]] = field(default_factory=dict)


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
        if any(stage.over for stage in self.spec.stages.values()):
            self._add_gathering(users)
        return users

    def _add_gathering(self, users: dict[str, list[int]]) -> None:
        """Count the trials that reach a node only as an input of a node that gathers: all that use the latter."""
        for key in reversed([*self.nodes]):
            own = users.get(key, [])
            among = frozenset(own)
            for ref in self.nodes[key].inputs.values():
                below = users.get(ref.key, [])
                users[ref.key] = own if among.issuperset(below) else sorted(among.union(below))

    def uses(self, key: str) -> list[int]:
        """The indices of the trials that reach the node, also those that do so through a stage that gathers."""
        return self._users.get(key, [])


@dataclass(frozen=True)
class _Instance:
    """One stage of one trial, resolved: the keys of its nodes by part (None for a stage that is one node).

    Attributes:
        gathered: The axes that it, or all that it starts from, has gathered.
    """

    config: Config
    keys: Mapping[str | None, str]
    gathered: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Resolved:
    """A stage's config with what follows from it, whatever the seed: its recipes by part."""

    config: Config
    recipes: Mapping[str | None, Recipe]


@dataclass
class _Walk:
    """The way through the stages of one trial: their raw configs, and what has been reached so far."""

    trial: Trial
    stages: Mapping[str, dict[str, Any]]
    reached: dict[str, _Instance] = field(default_factory=dict)


@dataclass
class _Planner:
    spec: SweepSpec
    data_dir: Path
    groups: Groups
    nodes: dict[str, Node] = field(default_factory=dict)
    applied: tuple[Mapping[str, Any], Mapping[str, dict[str, Any]]] | None = None
    memo: dict[tuple[Any, ...], _Instance] = field(default_factory=dict)
    parsed: dict[tuple[str, str], Config] = field(default_factory=dict)
    resolved: dict[tuple[Any, ...], _Resolved] = field(default_factory=dict)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gathered: dict[tuple[Any, ...], _Instance] = field(default_factory=dict)
    limits: dict[str, float | None] = field(default_factory=dict)

    @cached_property
    def workloads(self) -> Mapping[str, Workload]:
        return {name: load_workload(stage.workload) for name, stage in self.spec.stages.items()}

    @cached_property
    def recipes(self) -> Recipes:
        return Recipes(self.data_dir)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        named = {ref.stage for raw in every_config(self.spec) for ref in inputs.extract(raw)[1].values()}
        return tuple(name for name in self.spec.stages if name not in named)

    def trial(self, trial: Trial) -> PlannedTrial:
        if self.applied is None or self.applied[0] != trial.settings:  # trials of one combination stand together
            self.applied = trial.settings, apply_settings(self.spec.stages, trial.settings)
        walk = _Walk(trial, self.applied[1])
        for target in self.targets:
            self.stage(target, walk, ())
        nodes = {
            (f"{stage}.{part}" if part else stage): key
            for stage, instance in walk.reached.items()
            for part, key in instance.keys.items()
        }
        targets = tuple(name for name in nodes if name.split(".")[0] in self.targets)
        # Without the parts of split stages: a trial that is measured once more is the same trial.
        whole = [instance.keys[None] for instance in walk.reached.values() if None in instance.keys]
        gathered = {name: instance.gathered for name, instance in walk.reached.items() if instance.gathered}
        return PlannedTrial(trial, keys.digest([dict(trial.levels), whole]), nodes, targets, gathered)

    def stage(self, name: str, walk: _Walk, above: tuple[str, ...]) -> _Instance:
        """The instance of stage `name` in a trial, its inputs planned first; adds them to what the trial reaches."""
        if name in walk.reached:
            return walk.reached[name]
        if name in above:
            raise PlanError(f"stages: {' -> '.join((*above, name))} is a cycle (trial {walk.trial.label})")
        raw, refs = inputs.extract(walk.stages[name])
        for role, ref in refs.items():
            if ref.stage not in self.spec.stages:
                raise self._refusal(name, _place_of(role), f"starts from {ref.stage!r}, which is no stage", walk.trial)
        below = {role: self.stage(ref.stage, walk, (*above, name)) for role, ref in refs.items()}
        if self.spec.stages[name].over is None:
            walk.reached[name] = self._instance(name, raw, walk.trial, refs, below, frozenset())
        else:
            walk.reached[name] = self._gathering(name, raw, walk.trial, refs, (*above, name))
        return walk.reached[name]

    def _gathering(
        self, name: str, raw: dict[str, Any], trial: Trial, refs: Mapping[str, inputs.StageRef], above: tuple[str, ...]
    ) -> _Instance:
        """The instance of a stage that gathers: one for all trials of a group, whether they are planned or not."""
        axis = self.spec.stages[name].over or ""
        group, members = self.groups.of(axis, trial)
        if (name, group) not in self.gathered:
            walks = [_Walk(member, apply_settings(self.spec.stages, member.settings)) for member in members]
            roles = {f"{role}.{place}": (ref, walk) for role, ref in refs.items() for place, walk in enumerate(walks)}
            below = {role: self.stage(ref.stage, walk, above) for role, (ref, walk) in roles.items()}
            behind = {role: ref for role, (ref, _) in roles.items()}
            own = frozenset(varying(self.spec, axis))
            self.gathered[name, group] = self._instance(name, raw, trial, behind, below, own)
        return self.gathered[name, group]

    def _instance(
        self,
        name: str,
        raw: dict[str, Any],
        trial: Trial,
        refs: Mapping[str, inputs.StageRef],
        below: Mapping[str, _Instance],
        own: frozenset[str],
    ) -> _Instance:
        """The instance of a stage in a trial; `own` are the axes that it gathers itself."""
        for role, ref in refs.items():
            if None not in below[role].keys:
                why = f"starts from {ref.stage!r}, which measures and leaves no weights to start from"
                raise self._refusal(name, _place_of(role), why, trial)
        behind = {role: InputRef(below[role].keys[None], ref.part) for role, ref in refs.items()}
        roles = {role: str(ref) for role, ref in behind.items()}
        text = json.dumps(raw, sort_keys=True, default=str)
        before = [instance.gathered for instance in below.values()]
        gathered = own.union(frozenset.intersection(*before) if before else ()) - self.groups.setting(name)
        seed = 0 if SEED in gathered else trial.seed
        memo_key = self.workloads[name].name, text, seed, *roles.items()
        if memo_key not in self.memo:
            configs = {role: instance.config for role, instance in below.items()}
            resolved = self._resolved(name, raw, text, configs, trial)
            self.memo[memo_key] = _Instance(resolved.config, self._add_nodes(name, resolved, seed, behind, roles))
        self._allow(self.memo[memo_key], self.spec.stages[name].time_limit)
        return replace(self.memo[memo_key], gathered=gathered) if gathered else self.memo[memo_key]

    def _allow(self, instance: _Instance, time_limit: float | None) -> None:
        """Let nodes run so long, or longer where another stage that shares them allows more."""
        for key in instance.keys.values():
            before = self.limits.setdefault(key, time_limit)
            self.limits[key] = None if before is None or time_limit is None else max(before, time_limit)

    def limited(self) -> dict[str, Node]:
        """The nodes with their time limits."""
        return {
            key: node if self.limits[key] is None else replace(node, time_limit=self.limits[key])
            for key, node in self.nodes.items()
        }

    def _resolved(
        self, name: str, raw: dict[str, Any], text: str, configs: Mapping[str, Config], trial: Trial
    ) -> _Resolved:
        """The config of a stage and its recipes; one object for all that share it."""
        workload = self.workloads[name]
        memo_key = workload.name, text, *((role, id(config)) for role, config in configs.items())
        if memo_key not in self.resolved:
            config = self._resolve(name, raw, text, configs, trial)
            self.resolved[memo_key] = _Resolved(config, self.recipes.of(workload, config, configs))
        return self.resolved[memo_key]

    def _resolve(
        self, name: str, raw: dict[str, Any], text: str, configs: Mapping[str, Config], trial: Trial
    ) -> Config:
        workload = self.workloads[name]
        try:
            if (workload.name, text) not in self.parsed:
                self.parsed[workload.name, text] = workload.config.model_validate_json(json.dumps(raw))
            return workload.resolve(self.parsed[workload.name, text], configs)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._refusal(name, tuple(map(str, first["loc"])), first["msg"], trial) from error
        except ValueError as error:  # "FIELD: what is wrong"
            field_name, separator, message = str(error).partition(": ")
            known = separator and (field_name in raw or field_name in (*OWN, *fields(workload.config)))
            below = (field_name,) if known else ()
            raise self._refusal(name, below, message if known else str(error), trial) from error

    def _refusal(self, stage: str, below: tuple[str, ...], message: str, trial: Trial) -> PlanError:
        place = ("stages", stage, *below)
        which = f" (trial {trial.label})" if trial.levels else ""
        return PlanError(str(Problem(self.spec.where_is(*place), dotted(place), f"{message}{which}")))

    def _add_nodes(
        self, name: str, resolved: _Resolved, seed: int, behind: Mapping[str, InputRef], roles: Mapping[str, str]
    ) -> dict[str | None, str]:
        workload = self.workloads[name]
        found: dict[str | None, str] = {}
        siblings = ""
        for part, recipe in resolved.recipes.items():
            key = keys.digest(keys.whole_identity(workload, recipe.identity, seed, roles))
            siblings = siblings or key
            if key not in self.nodes:
                self.nodes[key] = Node(
                    *(key, name, part, workload.name, recipe.config, seed, behind, siblings),
                    *(recipe.array, recipe.kind, recipe.work),
                )
            found[part] = key
            if recipe.lacking:
                self.missing[key] = recipe.lacking
        return found


def _place_of(role: str) -> tuple[str, ...]:
    """Where the config names the input of a role: in `from` at the top, or in a holder's."""
    holder = role.split(".")[0]
    return ("from",) if holder == "input" else (holder, "from")


def plan(spec: SweepSpec, data_dir: Path, limit: int | None = None) -> Plan:
    """The plan of `spec`, or of its first `limit` trials; data need not be there, what is missing is in `missing_data`.

    Raises:
        PlanError: a combination of levels describes no possible stage.
    """
    every = trials(spec)
    planner = _Planner(spec, data_dir, Groups(spec, every))
    planned = tuple(planner.trial(trial) for trial in every[:limit])
    return Plan(spec, planned, planner.limited(), planner.missing)
