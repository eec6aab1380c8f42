"""Networks whose feature maps branch and are joined along the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workloads.models.base import Network, Shape
from workloads.models.size import INCEPTION, Layers

if TYPE_CHECKING:
    from torch import nn


class DenseNet40(Network):
    """DenseNet-BC of 40 layers, three blocks of six bottleneck layers, in the two forms that the papers trained.

    `andreasveit` (Liu et al., arXiv:1906.02613): global average pool, convolutions start He-normal by fan-out; 176,122
    parameters. `kuangliu` (Goldblum et al., arXiv:1910.00359): a 4x4 average-pool, which leaves 2x2 maps of 32x32
    images, and PyTorch's start; 180,082 parameters. Source: Huang et al., arXiv:1608.06993.
    """

    name: Literal["densenet40"] = "densenet40"
    variant: Literal["andreasveit", "kuangliu"] = Field(default="andreasveit", description="Whose code it is.")
    growth: int = Field(default=12, gt=0, description="k, the channels that each layer adds.")

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """A layer's new channels come behind those of its input, in both forms."""
        from workloads.models.branching_networks import DenseNet

        return DenseNet(shape[0], shape[1:], self.growth, classes, self.variant == "andreasveit")

    def count(self, layers: Layers, classes: int) -> None:
        """What a layer adds comes behind its input: both go on."""
        layers.convolution(2 * self.growth)
        for block in range(3):
            if block > 0:
                layers.norm()
                layers.convolution(layers.channels // 2, kernel=1)
                layers.pool(2)
            for _ in range(6):
                below = layers.channels
                layers.norm()
                layers.convolution(4 * self.growth, kernel=1, norm=4)
                layers.convolution(self.growth)
                layers.channels += below
        layers.norm()
        if self.variant == "andreasveit":
            layers.pool_all()
        else:
            layers.pool(4)
        layers.linear(classes)


class SmallInception(Network):
    """The small Inception of Zhang et al. 2017; 1,649,402 parameters at width 96 on 3 colours with 10 classes.

    Convolutions have no biases, batch norm has beta and no gamma: the printed count fixes that. Source: Zhang et al.,
    CBMM memo 067, table 2; form of Zhang et al., arXiv:1611.03530, figure 3.
    """

    name: Literal["small_inception"] = "small_inception"
    width: int = Field(
        default=96, gt=0, multiple_of=6, description="Channels of the stem; all others are in proportion."
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """28x28 images become maps of 14x14, then 7x7, before the global average pool."""
        from workloads.models.branching_networks import small_inception

        return small_inception(shape[0], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """The first branch is counted as if it stood beside the maps, for the second one starts from them too."""
        unit = self.width // 6
        layers.convolution(self.width, norm=3)
        for multiples in INCEPTION:
            below = layers.channels
            if isinstance(multiples, tuple):
                one, three = (multiple * unit for multiple in multiples)
                layers.shortcut(one, 1, norm=3)
                layers.convolution(three, norm=3)
                layers.channels += one
            else:
                layers.convolution(multiples * unit, stride=2, norm=3)
                layers.channels += below
        layers.pool_all()
        layers.linear(classes)
