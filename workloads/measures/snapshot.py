"""What measures look at: a trained network, where it came from, and the data, all frozen."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from workloads.datasets.images import Data
from workloads.training.evaluation import Scores, logits, normalized, scores

Value = TypeVar("Value")


@dataclass(frozen=True)
class Snapshot:
    """A network in eval mode without gradients; measures change nothing of it.

    Attributes:
        start: Its parameters and buffers before the first step of the node that trained it, by name, on the CPU.
        data: The data to measure on; images uint8 (N, C, H, W), labels (N,).
        seed: Of the trial; what a measure draws, it draws from streams of this.
    """

    model: nn.Module
    start: dict[str, Tensor]
    data: Data
    device: str
    seed: int = 0
    _memory: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def memo(self, key: Hashable, build: Callable[[], Value]) -> Value:
        """`build()`, remembered with the network: what several measures of it share."""
        if key not in self._memory:
            self._memory[key] = build()
        return self._memory[key]

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """All nn.Parameters by name, batch norm and biases among them; no buffers. On the CPU."""
        return {name: tensor.detach().cpu() for name, tensor in self.model.named_parameters()}

    @property
    def train_images(self) -> Tensor:
        """Those of the training part as the network takes them, on the device."""
        return normalized(self.data.train_x.to(self.device), self.data.mean, self.data.std)

    @cached_property
    def train_scores(self) -> Scores:
        """On the training part."""
        return self._scores(self.data.train_x, self.data.train_y)

    @cached_property
    def test_scores(self) -> Scores:
        """On the test part."""
        return self._scores(self.data.test_x, self.data.test_y)

    @torch.no_grad()
    def _scores(self, x: Tensor, y: Tensor) -> Scores:
        images = normalized(x.to(self.device), self.data.mean, self.data.std)
        return scores(logits(self.model, images), y.to(self.device))
