"""What every network's config is and does."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING

from workloads.contract import Config
from workloads.models.size import Layers, Shape, Size

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Network", "Shape"]


@lru_cache(maxsize=1000)
def _size(network: Network, shape: Shape, classes: int) -> Size:
    layers = Layers(*shape)
    network.count(layers, classes)
    return Size(layers.multiply_adds, layers.numbers)


class Network(Config):
    """The base of every network: a config that builds its module, for images of any shape it can take."""

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """The module for images of `shape` (channels, height, width), its parameters unset."""
        from workloads.models.layers import unset

        return unset(lambda: self.module(shape, classes))

    @abstractmethod
    def module(self, shape: Shape, classes: int) -> nn.Module:
        """The module, on whatever device tensors are made on; `build` chooses one on which nothing is drawn."""

    def size(self, shape: Shape, classes: int) -> Size:
        """How large the module is, without torch."""
        return _size(self, shape, classes)  # pyright: ignore[reportArgumentType]  # frozen: it has a hash

    @abstractmethod
    def count(self, layers: Layers, classes: int) -> None:
        """Let `layers`, images at first, go through every layer of the module."""
