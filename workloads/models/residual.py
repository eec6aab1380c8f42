"""Networks with shortcuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from workloads.models.base import Network, Shape
from workloads.models.size import MOBILENET_V2, Layers

if TYPE_CHECKING:
    from torch import nn


class ResNet18(Network):
    """ResNet-18 in its CIFAR form (3x3 stem, no max-pool); 11,173,962 parameters at width 64 with 10 classes.

    Source: He et al., arXiv:1512.03385, with the stem that Liu et al., arXiv:1906.02613, use.
    """

    name: Literal["resnet18"] = "resnet18"
    width: int = Field(
        default=64, gt=0, description="Channels of the first stage; the others have 2, 4, 8 times as many."
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """Four stages of two blocks of two 3x3 convolutions."""
        from workloads.models.residual_networks import BasicBlock, resnet

        return resnet(BasicBlock, (2, 2, 2, 2), shape[0], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """Stem, blocks, global average pool, linear."""
        layers.convolution(self.width, norm=4)
        for stage in range(4):
            for index in range(2):
                channels, stride = self.width * 2**stage, 2 if stage > 0 and index == 0 else 1
                if stride != 1 or layers.channels != channels:
                    layers.shortcut(channels, stride, norm=4)
                layers.convolution(channels, stride=stride, norm=4)
                layers.convolution(channels, norm=4)
        layers.pool_all()
        layers.linear(classes)


class ResNet50(Network):
    """ResNet-50 in its CIFAR form (3x3 stem, no max-pool); 23,520,842 parameters at width 64 with 10 classes.

    Source: He et al., arXiv:1512.03385, with the stem that Liu et al., arXiv:1906.02613, use; the stride is in the
    3x3 convolution.
    """

    name: Literal["resnet50"] = "resnet50"
    width: int = Field(
        default=64,
        gt=0,
        description="Channels inside the blocks of the first stage; the others have 2, 4, 8 times as many; outside of "
        "the blocks there are 4 times as many as inside.",
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """Stages of 3, 4, 6, 3 bottleneck blocks."""
        from workloads.models.residual_networks import BottleneckBlock, resnet

        return resnet(BottleneckBlock, (3, 4, 6, 3), shape[0], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """Stem, blocks, global average pool, linear."""
        layers.convolution(self.width, norm=4)
        for stage, count in enumerate((3, 4, 6, 3)):
            for index in range(count):
                channels, stride = self.width * 2**stage, 2 if stage > 0 and index == 0 else 1
                if stride != 1 or layers.channels != 4 * channels:
                    layers.shortcut(4 * channels, stride, norm=4)
                layers.convolution(channels, kernel=1, norm=4)
                layers.convolution(channels, stride=stride, norm=4)
                layers.convolution(4 * channels, kernel=1, norm=4)
        layers.pool_all()
        layers.linear(classes)


class ResNet20Fixup(Network):
    """ResNet-20 without batch norm, with Fixup's start, scalar biases and scales; 268,393 parameters on CIFAR-10.

    The published recipe gives the scalars and the last bias a tenth of the learning rate: optimizer groups that match
    `bias` and `scale`. Source: Zhang et al., arXiv:1901.09321, in Goldblum et al., arXiv:1910.00359, table 4.
    """

    name: Literal["resnet20_fixup"] = "resnet20_fixup"
    width: int = Field(default=16, gt=0, description="Channels of the first stage; the others have 2, 4 times as many.")

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """Three stages of three blocks."""
        from workloads.models.residual_networks import FixupResNet

        return FixupResNet(3, shape[0], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """The scalars are a bias behind the stem, four and a scale in each block, and a bias before the last layer."""
        layers.convolution(self.width)
        for stage in range(3):
            for index in range(3):
                layers.convolution(self.width * 2**stage, stride=2 if stage > 0 and index == 0 else 1)
                layers.convolution(self.width * 2**stage)
        layers.numbers += 2 + 9 * 5
        layers.pool_all()
        layers.linear(classes)


class WideResNet(Network):
    """Wide ResNet WRN-`depth`-`width`: three stages of (depth - 4)/6 blocks with 16, 32, 64 times `width` channels.

    `original`, of Zagoruyko and Komodakis, arXiv:1605.07146: WRN-40-4 has 8,949,210 parameters (Zhang et al., CBMM memo
    067, table 2). `biased`, the code that Goldblum et al., arXiv:1910.00359, figure 1, use: convolutions have biases,
    the second one of a block has the stride, the shortcut of a changed shape leaves before batch norm, and the last
    batch norm has momentum 0.9; WRN-16-k has 175,626 (k = 1), 2,751,146 (4), 43,787,498 (16) parameters.
    """

    name: Literal["wide_resnet"] = "wide_resnet"
    variant: Literal["original", "biased"] = Field(default="original", description="Whose network it is.")
    depth: int = Field(default=16, ge=10, le=10_000, description="Layers: 10, 16, 22, ...")
    width: int = Field(default=4, gt=0, description="k, the widening.")

    @field_validator("depth")
    @classmethod
    def _whole_blocks(cls, depth: int) -> int:
        if depth % 6 != 4:
            raise ValueError(f"the depth must be 6n + 4 (10, 16, 22, 28, 34, 40 ...); {depth} is not")
        return depth

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """Pre-activation blocks of two 3x3 convolutions; no dropout."""
        from workloads.models.residual_networks import wide_resnet

        return wide_resnet(self.depth, self.width, shape[0], classes, self.variant == "original")

    def count(self, layers: Layers, classes: int) -> None:
        """Batch norm comes before each convolution of a block, and before the last pool."""
        bias = self.variant == "biased"
        layers.convolution(16, bias=bias)
        for stage in range(3):
            for index in range((self.depth - 4) // 6):
                channels, stride = 16 * self.width * 2**stage, 2 if stage > 0 and index == 0 else 1
                if stride != 1 or layers.channels != channels:
                    layers.shortcut(channels, stride, bias=bias)
                layers.norm()
                layers.convolution(channels, stride=1 if bias else stride, bias=bias, norm=4)
                layers.convolution(channels, stride=stride if bias else 1, bias=bias)
        layers.norm()
        layers.pool_all()
        layers.linear(classes)


class MobileNetV2(Network):
    """MobileNetV2 in its CIFAR form; 2,296,922 parameters at width 32 with 10 classes.

    Against Sandler et al., arXiv:1801.04381: three strides are 1, the activation is ReLU, and shortcuts project where
    the channels change, as in the code of Goldblum et al., arXiv:1910.00359, tables 3 and 4.
    """

    name: Literal["mobilenet_v2"] = "mobilenet_v2"
    width: int = Field(
        default=32, gt=0, multiple_of=4, description="Channels of the stem; all others are in proportion."
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """17 inverted residuals; 32x32 images become maps of 4x4 before the global average pool."""
        from workloads.models.residual_networks import mobilenet_v2

        return mobilenet_v2(shape[0], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """A shortcut is a 1x1 convolution where the channels change, and none where the stride is not 1."""
        unit = self.width // 4
        layers.convolution(self.width, norm=4)
        for expansion, multiple, count, first in MOBILENET_V2:
            for index in range(count):
                stride, inner = first if index == 0 else 1, expansion * layers.channels
                if stride == 1 and layers.channels != multiple * unit:
                    layers.shortcut(multiple * unit, 1, norm=4)
                layers.convolution(inner, kernel=1, norm=4)
                layers.convolution(inner, stride=stride, norm=4, groups=inner)
                layers.convolution(multiple * unit, kernel=1, norm=4)
        layers.convolution(160 * unit, kernel=1, norm=4)
        layers.pool_all()
        layers.linear(classes)
