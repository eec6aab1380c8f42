"""What follows from a stage's config alone, whatever the seed and the keys of its inputs.

The trials of a sweep share most of it: a plan works it out once for each config.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.planning import keys
from workloads.contract import Config, DatasetConfig, Workload, walk
from workloads.work import Work


@dataclass(frozen=True)
class Recipe:
    """One node's share of a stage: all of it, or one part of a stage that is split.

    Attributes:
        identity: What the key hashes of the config.
        config: The full config as JSON values.
        lacking: What is missing of its data, in sentences.
        array, kind, work: As in `Node`.
    """

    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    lacking: tuple[str, ...]
    array: str | None
    kind: str
    work: Work | None


@dataclass
class Recipes:
    """Works recipes out, each once: configs that are written as the same JSON are the same."""

    data_dir: Path
    _known: dict[tuple[str, str, Work | None], Recipe] = field(default_factory=dict)

    def of(self, workload: Workload, config: Config, inputs: Mapping[str, Config]) -> dict[str | None, Recipe]:
        """By part (None for a stage that is one node); `inputs` are the configs of its roles."""
        parts: Mapping[str | None, Config] = {**workload.split(config)} if workload.split else {None: config}
        return {part: self._recipe(workload, config_of_part, inputs) for part, config_of_part in parts.items()}

    def _recipe(self, workload: Workload, config: Config, inputs: Mapping[str, Config]) -> Recipe:
        work = _work(workload, config, inputs)
        name = workload.name, config.model_dump_json(by_alias=True), work
        if name not in self._known:
            self._known[name] = _recipe(workload, config, work, self.data_dir)
        return self._known[name]


def _recipe(workload: Workload, config: Config, work: Work | None, data_dir: Path) -> Recipe:
    alike = None if workload.run_array is None else workload.array_key(config)
    dump = config.model_dump(mode="json", by_alias=True)
    size = None if work is None else [work.operations, work.at_most]
    return Recipe(
        identity=keys.identity(config, data_dir),
        config=dump,
        lacking=tuple(filter(None, (data.missing(data_dir) for data in _datasets(config)))),
        array=None if alike is None else keys.digest([workload.name, workload.version, alike]),
        kind=keys.digest([workload.name, dump if alike is None else alike, size]),
        work=work,
    )


def _work(workload: Workload, config: Config, inputs: Mapping[str, Config]) -> Work | None:
    """What the workload says; nothing where the number has no size, as of a training of 1e400 epochs."""
    try:
        work = workload.work(config, inputs)
    except OverflowError:
        return None
    return work if work is not None and math.isfinite(work.operations) else None


def _datasets(config: Config) -> list[DatasetConfig]:
    """Every data set chosen in a config."""
    return [part for _, part in walk(config) if isinstance(part, DatasetConfig)]
