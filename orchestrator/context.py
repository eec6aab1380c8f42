"""What a running workload sees: inputs, streams, where to log and to keep checkpoints. Implements contract.Context."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import StoreError
from orchestrator.inputs import Part
from orchestrator.store import Outcome, Store
from workloads.contract import Checkpoint, Config, load_workload

if TYPE_CHECKING:
    import torch

CHECKPOINT_SECONDS = float(os.environ.get("SWEEP_CHECKPOINT_SECONDS", "60"))  # between checkpoints of a node
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
    """The context of one node; `memos` is shared by the nodes of its group.

    Args:
        stored: Its finished inputs by role.
        folder: Where its checkpoint lies.
        on_begin: Told when the workload first asks for something: in an array a node may wait for a slot.

    Attributes:
        began: When that was, in unix seconds.
        resumed_at: How many rows its history had when it was taken up again; None for a node that began afresh.
        trouble: What went wrong with its checkpoints, which ends nothing; None if nothing did.
    """

    seed: int
    device: str
    data_dir: Path
    stored: Mapping[str, StoredInput]
    on_log: Callable[[int, dict[str, float]], None]
    memos: dict[Hashable, Any]
    folder: Path
    on_begin: Callable[[], None]
    history: list[dict[str, float]] = field(default_factory=list)
    began: float | None = None
    resumed_at: int | None = None
    trouble: str | None = None
    _kept: float = 0.0

    def begin(self) -> None:
        """Take note, once, that the workload is at work."""
        if self.began is None:
            self.began, self._kept = time.time(), time.monotonic()
            self.on_begin()

    @property
    def inputs(self) -> Mapping[str, StoredInput]:
        self.begin()
        return self.stored

    def generator(self, purpose: str, step: int = 0) -> torch.Generator:
        from workloads.streams import generator

        self.begin()
        return generator(self.seed, purpose, step)

    def log(self, step: int, **values: float) -> None:
        self.begin()
        row = {name: float(value) for name, value in values.items()}
        self.history.append({"step": step, **row})
        self.on_log(step, row)

    def save(self, state: Callable[[], Checkpoint]) -> None:
        from workloads.alone import checkpoints

        self.begin()
        if time.monotonic() - self._kept >= CHECKPOINT_SECONDS:
            checkpoint = state()
            try:
                checkpoints.keep(self.folder, checkpoint, self.history)
            except OSError as error:  # such as a disk that is full for now: the one before is still there
                self.trouble = f"not written: {error.strerror or error}"
            self._kept = time.monotonic()

    def restore(self) -> Checkpoint | None:
        from workloads.alone import checkpoints

        self.begin()
        try:
            kept = checkpoints.kept(self.folder)
        except OSError:
            kept = None
        if kept is None and (self.folder / checkpoints.NAME).exists():
            self.trouble = "damaged: began afresh"
        self.history[:] = kept[1] if kept else []
        self.resumed_at = len(self.history) if kept else None
        return kept[0] if kept else None

    def memo(self, key: Hashable, build: Callable[[], Any]) -> Any:
        self.begin()
        if key not in self.memos:
            self.memos[key] = build()
        return self.memos[key]
