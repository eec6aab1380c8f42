"""What a running workload sees of a package: inputs, streams, its checkpoint. Implements contract.Context."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workloads.alone import artifacts, checkpoints, tensors
from workloads.alone.package import START, WEIGHTS, Finished, PackageError, parse, verified
from workloads.contract import Checkpoint, Config

SAVE_SECONDS = 60.0


class Stopped(Exception):
    """The time is up and the node's checkpoint is written: another run goes on from there."""


@dataclass
class Clock:
    """When to stop.

    Attributes:
        end: On the monotonic clock; None for never.
        waits: By kind of node, the longest that the last one went without a chance to stop it.
    """

    end: float | None = None
    waits: dict[Hashable, float] = field(default_factory=dict)

    def reached(self, wait: float = 0.0) -> bool:
        """Whether something that takes `wait` seconds would end too late."""
        return self.end is not None and time.monotonic() + wait > self.end


@dataclass(frozen=True)
class Place:
    """A finished node and the folder of its files."""

    finished: Finished
    folder: Path

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one of its files.

        Raises:
            PackageError: it is missing or damaged.
        """
        path = self.folder / name
        if name not in self.finished.files:
            raise PackageError(f"{path}: the node has no such file")
        try:
            return tensors.read(verified(path, self.finished.files[name]))[0]  # pyright: ignore[reportArgumentType]
        except tensors.DamagedError as error:
            raise PackageError(f"{path}: {error}") from error


@dataclass(frozen=True)
class PackagedInput:
    """A finished node as an input: tensors are read when asked for. `places` has every finished node by key."""

    places: Mapping[str, Place]
    finished: Finished
    part: str

    @property
    def key(self) -> str:
        return self.finished.key if self.part == "end" else f"{self.finished.key}.{self.part}"

    @property
    def config(self) -> Config:
        return parse(self.finished)[1]

    @property
    def seed(self) -> int:
        return self.finished.seed

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.finished.metrics

    def weights(self) -> dict[str, Tensor]:
        return self.start() if self.part == "start" else self.places[self.finished.key].tensors(WEIGHTS)

    def start(self) -> dict[str, Tensor]:
        if self.finished.start is None:
            return self.places[self.finished.key].tensors(START)
        key, _, part = self.finished.start.partition(".")
        return PackagedInput(self.places, self.places[key].finished, part or "end").weights()


@dataclass
class PackagedContext:
    """The context of one node.

    Attributes:
        folder: Where its checkpoint lies.
        memos: Shared by the nodes of its group.
        began: When the workload began with it, in seconds since 1970; 0 while it waits for a slot of an array.
        resumed_at: How many rows its history had when it was taken up again; None for a node that began afresh.
        trouble: That its checkpoint began under another torch; None where there is nothing to say.
        longest: The longest time, in seconds, without a chance to stop.
    """

    seed: int
    device: str
    data_dir: Path
    inputs: Mapping[str, PackagedInput]
    memos: dict[Hashable, Any]
    folder: Path
    clock: Clock
    history: list[dict[str, float]] = field(default_factory=list)
    began: float = 0.0
    resumed_at: int | None = None
    trouble: str | None = None
    longest: float = 0.0
    _since: float = 0.0
    _kept: float = 0.0
    _begun: str = ""  # the torch that its checkpoint began under

    def enter(self) -> None:
        """Take note that the workload begins."""
        if not self.began:
            self.began = time.time()
            self._since = self._kept = time.monotonic()
            if not (self.folder / checkpoints.NAME).exists():
                artifacts.forget(self.folder)

    def generator(self, purpose: str, step: int = 0) -> torch.Generator:
        from workloads.streams import generator

        self.enter()
        return generator(self.seed, purpose, step)

    def log(self, step: int, **values: float) -> None:
        self.enter()
        self.history.append({"step": step, **{name: float(value) for name, value in values.items()}})

    def log_artifact(self, name: str, content: bytes | str | Path) -> None:
        self.enter()
        artifacts.keep(self.folder, name, content)

    def save(self, state: Callable[[], Checkpoint]) -> None:
        """Keep the state about once a minute, and when there is no time for as much again: then stop.

        Raises:
            Stopped: the time is up.
        """
        self.enter()
        wait = self.wait()
        stop = self.clock.reached(wait)
        if stop or time.monotonic() - self._kept >= SAVE_SECONDS:
            checkpoints.keep(self.folder, state(), self.history, self._begun)
            self._kept = time.monotonic()
        if stop:
            raise Stopped
        self._since = time.monotonic()

    def wait(self) -> float:
        """The seconds since the last chance to stop."""
        wait = time.monotonic() - self._since
        self.longest = max(self.longest, wait)
        return wait

    def restore(self) -> Checkpoint | None:
        self.enter()
        kept = checkpoints.kept(self.folder)
        self.history[:] = kept.history if kept else []  # not that of an attempt that an array gave up
        self.resumed_at = len(self.history) if kept else None
        self._begun, self.trouble = (kept.torch, kept.foreign) if kept else ("", None)
        return kept.checkpoint if kept else None

    def memo(self, key: Hashable, build: Callable[[], Any]) -> Any:
        if key not in self.memos:
            self.memos[key] = build()
        return self.memos[key]
