"""Networks, each a config that builds its module without drawing anything; `starts` initializes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from workloads.contract import Config

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]


class MLP(Config):
    """Fully connected ReLU network on flattened images: `depth` hidden layers of `width`, and a linear output layer."""

    name: Literal["mlp"] = "mlp"
    width: int = Field(default=256, gt=0, description="Units of each hidden layer.")
    depth: int = Field(default=2, ge=0, description="Number of hidden layers.")

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """The module for images of `shape` (channels, height, width), its parameters unset."""
        from workloads.models.networks import mlp, unset

        channels, height, width = shape
        return unset(lambda: mlp([channels * height * width, *[self.width] * self.depth, classes]))


class ResNet18(Config):
    """ResNet-18 in its CIFAR form (3x3 stem, no max-pool); 11,173,962 parameters at width 64 with 10 classes.

    Source: He et al., arXiv:1512.03385, with the stem that Liu et al., arXiv:1906.02613, use.
    """

    name: Literal["resnet18"] = "resnet18"
    width: int = Field(
        default=64, gt=0, description="Channels of the first stage; the others have 2, 4, 8 times as many."
    )

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """The module for images of `shape` (channels, height, width), its parameters unset."""
        from workloads.models.networks import resnet18, unset

        return unset(lambda: resnet18(shape[0], self.width, classes))


Model = Annotated[MLP | ResNet18, Field(discriminator="name")]
