"""What a running workload sees: inputs, streams, where to log and to keep checkpoints. Implements contract.Context."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.running.stopping import Leaving
from orchestrator.storage.writing import writing
from orchestrator.store import OUTCOME, Damaged, Outcome, Store
from orchestrator.sweepfile.inputs import Part
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
        Damaged: the node is not there, or no longer whole.
    """
    outcome = store.outcome(key)
    outcome = outcome or store.row(key)
    if outcome is None:
        folder = store.node_folder(key)
        raise Damaged(key, f"{folder / OUTCOME}: damaged" if store.holds(key) else f"{folder}: missing")
    return StoredInput(store, outcome, part)


@dataclass
class RunContext:
    """The context of one node; `memos` is shared by the nodes of its group.

    Args:
        stored: Its finished inputs by role.
        folder: Where its checkpoint lies.
        on_begin: Told when the workload first asks for something: in an array a node may wait for a slot.
        leaving: Whether the nodes of the group are to leave, which they do where they save.
        take_up, keep: Called before a checkpoint is looked for, and after one was written.

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
    leaving: Leaving
    take_up: Callable[[], None] = lambda: None
    keep: Callable[[], None] = lambda: None
    history: list[dict[str, float]] = field(default_factory=list)
    began: float | None = None
    resumed_at: int | None = None
    trouble: str | None = None
    _kept: float = 0.0
    _begun: str = ""  # the torch that its checkpoint began under

    def begin(self) -> None:
        """Take note, once, that the workload is at work.

        Raises:
            Interrupted: a stop was asked for before it was.
        """
        if self.began is None:
            self.leaving.begin(id(self))
            self.began, self._kept = time.time(), time.monotonic()
            self._forget_artifacts()
            self.on_begin()

    def _forget_artifacts(self) -> None:
        """Those of an attempt that left no checkpoint, since this one begins afresh."""
        from workloads.alone import artifacts

        if (self.folder / artifacts.FOLDER).is_dir() and not any(self.folder.glob("checkpoint*")):
            artifacts.forget(self.folder)

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

    def log_artifact(self, name: str, content: bytes | str | Path) -> None:
        from workloads.alone import artifacts

        self.begin()
        with writing(self.folder / name):
            artifacts.keep(self.folder, name, content)

    def artifacts(self) -> dict[str, Path]:
        """What was logged as artifacts, by name."""
        from workloads.alone import artifacts

        return artifacts.kept(self.folder) if (self.folder / artifacts.FOLDER).is_dir() else {}

    def save(self, state: Callable[[], Checkpoint]) -> None:
        """Keep the state about once a minute, and when a stop was asked for: then leave.

        Raises:
            Interrupted: all that the group has under way is kept.
        """
        from workloads.alone import checkpoints

        self.begin()
        leave = self.leaving.asked()
        if leave or time.monotonic() - self._kept >= CHECKPOINT_SECONDS:
            checkpoint = state()
            try:
                checkpoints.keep(self.folder, checkpoint, self.history, self._begun)
                self.keep()
            except OSError as error:  # such as a disk that is full for now: the one before is still there
                self.trouble = f"not written: {error.strerror or error}"
            self._kept = time.monotonic()
        if leave:
            self.leaving.kept(id(self))

    def restore(self) -> Checkpoint | None:
        from workloads.alone import checkpoints

        self.begin()
        with suppress(OSError):
            self.take_up()
        try:
            kept = checkpoints.kept(self.folder)
        except OSError:
            kept = None
        if kept is None and (self.folder / checkpoints.NAME).exists():
            self.trouble = "damaged: began afresh"
        if kept is not None:
            self._begun, self.trouble = kept.torch, kept.foreign or self.trouble
        self.history[:] = kept.history if kept else []
        self.resumed_at = len(self.history) if kept else None
        return kept.checkpoint if kept else None

    def memo(self, key: Hashable, build: Callable[[], Any]) -> Any:
        self.begin()
        if key not in self.memos:
            self.memos[key] = build()
        return self.memos[key]
