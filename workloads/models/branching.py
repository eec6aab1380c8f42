"""Networks whose feature maps branch and are joined along the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workloads.models.base import Network, Shape

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
