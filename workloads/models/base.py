"""What every network's config is and does."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from workloads.contract import Config

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]


class Network(Config):
    """The base of every network: a config that builds its module, for images of any shape it can take."""

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """The module for images of `shape` (channels, height, width), its parameters unset."""
        from workloads.models.layers import unset

        return unset(lambda: self.module(shape, classes))

    @abstractmethod
    def module(self, shape: Shape, classes: int) -> nn.Module:
        """The module, on whatever device tensors are made on; `build` chooses one on which nothing is drawn."""
