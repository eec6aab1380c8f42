"""The world of a workload without an orchestrator: a context in memory, and finished nodes as its inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from workloads.contract import Checkpoint, Config, Result
from workloads.streams import generator


@dataclass
class Finished:
    """A finished node as an input, kept in memory."""

    config: Config
    result: Result
    below: Finished | None = None
    key: str = "key"
    seed: int = 0

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.result.metrics

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in (self.result.weights or {}).items()}

    def start(self) -> dict[str, torch.Tensor]:
        """Its own initial weights, or the final ones of the node `below` that it started from."""
        if isinstance(self.result.start, Mapping):
            return {name: tensor.clone() for name, tensor in self.result.start.items()}
        assert self.below is not None, "it started from another node: say which"
        return self.below.weights()


@dataclass
class Here:
    """A context without an orchestrator."""

    seed: int = 0
    device: str = "cpu"
    data_dir: Path = Path()
    inputs: Mapping[str, Finished] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)
    memos: dict[Hashable, Any] = field(default_factory=dict)
    artifacts: dict[str, bytes | str | Path] = field(default_factory=dict)
    kept: tuple[Checkpoint, int] | None = None

    def generator(self, purpose: str, step: int = 0) -> torch.Generator:
        return generator(self.seed, purpose, step)

    def log(self, step: int, **values: float) -> None:
        self.rows.append({"step": step, **values})

    def log_artifact(self, name: str, content: bytes | str | Path) -> None:
        self.artifacts[name] = content

    def memo(self, key: Hashable, build: Callable[[], Any]) -> Any:
        if key not in self.memos:
            self.memos[key] = build()
        return self.memos[key]

    def save(self, state: Callable[[], Checkpoint]) -> None:
        """Keeps every state that is offered."""
        self.kept = state(), len(self.rows)

    def restore(self) -> Checkpoint | None:
        del self.rows[self.kept[1] if self.kept else 0 :]
        return self.kept[0] if self.kept else None
