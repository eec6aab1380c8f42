"""What an MLflow run says of itself when it begins: its name, its tags, its params, the data sets it reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.findings.levels import level_text, short_names
from orchestrator.to_mlflow.naming import MAX_PARAM, MAX_TAG, common_levels, flattened, milliseconds, mlflow_name
from orchestrator.to_mlflow.spool import Operation
from workloads.contract import DatasetConfig, load_workload, walk

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial

MAX_NAME = 250  # characters of a run's name that a server's database keeps: PostgreSQL refuses the run for more
MAX_DIGEST = 36  # MLflow's limit for the fingerprint of a data set; the whole one is in its profile


@dataclass
class Descriptions:
    """Describes the runs of one sweep.

    Args:
        tags: What all runs carry: commit, versions, host, store.
        data_dir: Where data sets lie whose fingerprint is that of a file.
        parent: The key of the run above the others.
    """

    plan: Plan
    tags: Mapping[str, str]
    data_dir: Path
    parent: str

    @cached_property
    def _everywhere(self) -> dict[str, str]:
        spec = self.plan.spec
        return {"sweep.name": spec.record_name, "sweep.scale": spec.scale or "paper", **self.tags}

    @cached_property
    def _short(self) -> Mapping[str, str]:
        return short_names(self.plan.trials[0].trial.levels) if self.plan.trials else {}

    def above(self, time: float) -> Operation:
        """The run of one `sweep run`."""
        tags = {"sweep.trials": str(len(self.plan.trials))}
        return self._run(self.parent, self.plan.spec.record_name, time, tags, {}, [], None)

    def trial(self, index: int, time: float) -> Operation:
        """The run of a trial, named by its levels."""
        trial = self.plan.trials[index]
        levels = trial.trial.levels
        group = " ".join(f"{self._short[name]}={level_text(levels[name])}" for name in levels if name != "seed")
        stages = dict.fromkeys(name.partition(".")[0] for name in trial.targets)
        tags = {"group": group, "sweep.group": group, "sweep.stage": ", ".join(stages)}
        for label, key in trial.nodes.items():
            tags[f"node.{label}"] = key
            if self.is_shared(key):
                tags[f"shared.{label}"] = key
        name = trial.trial.label or trial.key
        return self._run(trial.key, name, time, tags, self._params(trial), trial.nodes.values(), self.parent)

    def shared(self, key: str, time: float) -> Operation:
        """The run of a node that several trials use."""
        node, users = self.plan.nodes[key], self.plan.uses(key)
        levels = common_levels([self.plan.trials[index] for index in users])
        tags = {"shared": "true", "used_by": str(len(users)), "sweep.stage": node.label, f"node.{node.label}": key}
        params = {axis: level_text(label) for axis, label in levels.items()}
        params = {**self._flattened(key, node.stage), **params}
        return self._run(key, self.shared_name(key), time, tags, params, [key], self.parent)

    def shared_name(self, key: str) -> str:
        """The stage and the levels that all trials with this node have."""
        if key not in self._names:
            self._names[key] = self._shared_name(key)
        return self._names[key]

    def _shared_name(self, key: str) -> str:
        levels = common_levels([self.plan.trials[index] for index in self.plan.uses(key)])
        texts = (f"{self._short[axis]}={level_text(label)}" for axis, label in levels.items())
        return " ".join([self.plan.nodes[key].label, *texts])

    def used_by(self, key: str) -> Operation:
        """The link from the run of a shared node to those of the trials that use it."""
        trials = [self.plan.trials[index] for index in self.plan.uses(key)]
        names = [[trial.key, trial.trial.label or trial.key] for trial in trials]
        return {"op": "link", "key": key, "tag": "used_by.runs", "title": "Used by", "to": names}

    def is_shared(self, key: str) -> bool:
        """Whether several trials use the node."""
        return len(self.plan.uses(key)) > 1

    def configs(self, keys: Mapping[str, str]) -> str:
        """The resolved configs, seeds and inputs of nodes by label, as JSON."""
        nodes = {label: self.plan.nodes[key] for label, key in keys.items()}
        shown = {
            label: {
                "key": node.key,
                "workload": node.workload,
                "seed": node.seed,
                "inputs": {role: str(ref) for role, ref in node.inputs.items()},
                "config": node.config,
            }
            for label, node in nodes.items()
        }
        return json.dumps(shown, indent=1)

    def _params(self, trial: PlannedTrial) -> dict[str, str]:
        """The levels, then the configs of the stages; of a stage in parts what the parts agree on, and their names."""
        params = {name: level_text(label) for name, label in trial.trial.levels.items()}
        parts: dict[str, list[str]] = {}
        for label in trial.nodes:
            stage, _, part = label.partition(".")
            parts.setdefault(stage, []).extend([part] if part else [])
        for stage, names in parts.items():
            configs = [
                self._flattened(trial.nodes[f"{stage}.{name}" if name else stage], stage) for name in names or [""]
            ]
            common = {path: text for path, text in configs[0].items() if all(c.get(path) == text for c in configs)}
            if names:
                common[f"{stage}.parts"] = ", ".join(names)
            params = {**common, **params}
        return params

    def _flattened(self, key: str, stage: str) -> dict[str, str]:
        if (key, stage) not in self._flat:
            self._flat[key, stage] = flattened(self.plan.nodes[key].config, stage)
        return self._flat[key, stage]

    @cached_property
    def _flat(self) -> dict[tuple[str, str], dict[str, str]]:
        return {}

    @cached_property
    def _names(self) -> dict[str, str]:
        return {}

    @cached_property
    def _data(self) -> dict[str, list[dict[str, str]]]:
        return {}

    def _datasets(self, keys: Iterable[str]) -> list[dict[str, str]]:
        """The data sets that the nodes name, each once, with their fingerprints and the stages that read them."""
        found: dict[tuple[str, str], dict[str, str]] = {}
        for key in keys:
            for item in self._datasets_of(key):
                stage = self.plan.nodes[key].stage
                known = found.setdefault((item["name"], item["digest"]), {**item, "context": stage})
                if stage not in known["context"].split(", "):
                    known["context"] += f", {stage}"
        return list(found.values())

    def _datasets_of(self, key: str) -> list[dict[str, str]]:
        node = self.plan.nodes[key]
        text = json.dumps([node.workload, node.config])
        if text not in self._data:
            self._data[text] = _datasets(node.workload, node.config, self.data_dir)
        return self._data[text]

    def _run(
        self,
        key: str,
        name: str,
        time: float,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        nodes: Iterable[str],
        parent: str | None,
    ) -> Operation:
        said = {"sweep.key": key, **tags, **self._everywhere}
        return {
            "op": "run",
            "key": key,
            "name": name[:MAX_NAME],
            "time": milliseconds(time),
            "tags": {name: text[:MAX_TAG] for name, text in said.items()},
            "params": {mlflow_name(path): text[:MAX_PARAM] for path, text in params.items() if text},
            "datasets": self._datasets(nodes),
            "parent": parent,
        }


def _datasets(workload: str, config: Mapping[str, Any], data_dir: Path) -> list[dict[str, str]]:
    """Every data set in a config as MLflow's inputs want it; none where the config or the data cannot be read."""
    try:
        whole = load_workload(workload).config.model_validate_json(json.dumps(config))
        parts = [part for _, part in walk(whole) if isinstance(part, DatasetConfig)]
        fingerprints = [part.fingerprint(data_dir) for part in parts]
    except (LookupError, TypeError, ValueError, OSError):
        return []
    sources = [
        {"name": str(getattr(part, "name", type(part).__name__))}
        | part.model_dump(mode="json", include=set(part.NOT_IDENTITY))
        for part in parts
    ]
    # MLflow keeps one data set of a name and digest: what stages make of it (a subset, wrong labels) is in the params.
    return [
        {
            "name": source["name"],
            "digest": fingerprint.rpartition(":")[2][:MAX_DIGEST],
            "source": json.dumps(source),
            "profile": json.dumps({"fingerprint": fingerprint}),
        }
        for source, fingerprint in zip(sources, fingerprints, strict=True)
    ]
