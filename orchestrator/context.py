"""What a running workload sees: its inputs, its streams of randomness, where to log. Implements contract.Context."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import StoreError
from orchestrator.inputs import Part
from orchestrator.store import Outcome, Store
from workloads.contract import Config, load_workload

if TYPE_CHECKING:
    import torch

WEIGHTS, START = "weights.safetensors", "start.safetensors"


@dataclass(frozen=True)
class StoredInput:
    """A finished node as an input: tensors are read when asked for."""

    store: Store
    outcome: Outcome
    part: Part

    @property
    def key(self) -> str:
        return self.outcome.key if self.part == "end" else f"{self.outcome.key}.{self.part}"

    @property
    def config(self) -> Config:
        return load_workload(self.outcome.workload).config.model_validate_json(json.dumps(self.outcome.config))

    @property
    def seed(self) -> int:
        return self.outcome.seed

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.outcome.metrics

    def weights(self) -> dict[str, torch.Tensor]:
        return self.start() if self.part == "start" else self.store.weights(self.outcome, WEIGHTS)

    def start(self) -> dict[str, torch.Tensor]:
        if self.outcome.start is None:
            return self.store.weights(self.outcome, START)
        key, _, part = self.outcome.start.partition(".")
        return load_input(self.store, key, "start" if part else "end").weights()


def load_input(store: Store, key: str, part: Part) -> StoredInput:
    """The input behind a node's role.

    Raises:
        StoreError: the node is not there.
    """
    outcome = store.outcome(key)
    if outcome is None:
        for _, rows in store.rows():
            outcome = next((row for row in rows if row.key == key), None)
            if outcome is not None:
                break
    if outcome is None:
        raise StoreError(
            f"{store.node_folder(key)}: an input that should be finished is not there; run the sweep again"
        )
    return StoredInput(store, outcome, part)


@dataclass
class RunContext:
    """The context of one node; `memos` is shared by the nodes of its group."""

    seed: int
    device: str
    data_dir: Path
    inputs: Mapping[str, StoredInput]
    on_log: Callable[[int, dict[str, float]], None]
    memos: dict[Hashable, Any]
    history: list[dict[str, float]] = field(default_factory=list)

    def generator(self, purpose: str, step: int = 0) -> torch.Generator:
        from workloads.streams import generator

        return generator(self.seed, purpose, step)

    def log(self, step: int, **values: float) -> None:
        row = {name: float(value) for name, value in values.items()}
        self.history.append({"step": step, **row})
        self.on_log(step, row)

    def memo(self, key: Hashable, build: Callable[[], Any]) -> Any:
        if key not in self.memos:
            self.memos[key] = build()
        return self.memos[key]
