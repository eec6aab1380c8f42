"""Networks of layers in a row: fully connected, and convolutional without shortcuts or branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt, model_validator

from workloads.contract import Real
from workloads.models.activations import Activation, ReLU
from workloads.models.base import Network, Shape
from workloads.models.size import VGG16_STACKS, Layers

if TYPE_CHECKING:
    from torch import nn


class MLP(Network):
    """Fully connected ReLU network on flattened images: `depth` hidden layers of `width`, and a linear output layer."""

    name: Literal["mlp"] = "mlp"
    width: int = Field(default=256, gt=0, description="Units of each hidden layer.")
    depth: int = Field(default=2, ge=0, le=10_000, description="Number of hidden layers.")
    widths: tuple[PositiveInt, ...] | None = Field(
        default=None, description="Units of the hidden layers where they differ, in place of width and depth."
    )
    batch_norm: bool = Field(default=False, description="Batch norm before each ReLU.")
    dropout: Real = Field(default=0.0, ge=0, lt=1, description="Share of the hidden units dropped, after each ReLU.")

    @model_validator(mode="after")
    def _either_widths_or_width_and_depth(self) -> MLP:
        fields = type(self).model_fields
        stated = any(getattr(self, name) != fields[name].default for name in ("width", "depth"))
        if self.widths is not None and stated:  # a config that comes back from a store states its defaults too
            raise ValueError("give width and depth, or widths in their place; not both")
        return self

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """Flatten, then linear layers; 14,706,698 parameters with 3 x 2048 units on CIFAR-10."""
        from workloads.models.plain_networks import mlp

        channels, height, width = shape
        hidden = (self.width,) * self.depth if self.widths is None else self.widths
        return mlp([channels * height * width, *hidden, classes], self.batch_norm, self.dropout)

    def count(self, layers: Layers, classes: int) -> None:
        """Linear layers."""
        for units in (self.width,) * self.depth if self.widths is None else self.widths:
            layers.linear(units, norm=4 * self.batch_norm)
        layers.linear(classes)


class Conv4(Network):
    """Four 3x3 convolutions of stride 2 with 16, 32, 64, 128 channels, and a linear layer; 102,570 parameters.

    The source mentions neither batch norm nor dropout; both are options. Source: Banburski et al., Theory III: Dynamics
    and Generalization in Deep Networks, figure 8.
    """

    name: Literal["conv4"] = "conv4"
    width: int = Field(
        default=16, gt=0, description="Channels of the first convolution; the others have 2, 4, 8 times as many."
    )
    activation: Activation = Field(default=ReLU(), description="What follows each convolution.")
    batch_norm: bool = Field(default=False, description="Batch norm before each activation.")
    dropout: Real = Field(default=0.0, ge=0, lt=1, description="Share of the numbers dropped, after each activation.")

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """32x32 images become 128 maps of 2x2."""
        from workloads.models.plain_networks import conv4

        widths = [self.width * 2**stage for stage in range(4)]
        return conv4(shape[0], shape[1:], widths, classes, self.activation.build, self.batch_norm, self.dropout)

    def count(self, layers: Layers, classes: int) -> None:
        """Convolutions that halve, and a linear layer."""
        for stage in range(4):
            layers.convolution(self.width * 2**stage, stride=2, bias=True, norm=4 * self.batch_norm)
        layers.linear(classes)


class AllConvolutional(Network):
    r"""The 5-layer all-convolutional net without pooling; $34n^2 + 41n + 10$ parameters at width $n$ on CIFAR-10.

    Three 3x3 convolutions of stride 2, one over the whole 4x4 map they leave, and one over its 1x1 result, which is
    a linear layer; with biases. Batch norm has no parameters. Source: Zhang et al., CBMM memo 067, figures 1 to 4,
    whose 9,370 parameters at 16 channels fix this form; with `activation: {name: polynomial}` figures 21 to 24.
    """

    name: Literal["all_convolutional"] = "all_convolutional"
    width: int = Field(default=16, gt=0, description="n, the channels of each hidden layer.")
    activation: Activation = Field(default=ReLU(), description="What follows each hidden layer.")
    batch_norm: bool = Field(
        default=True, description="Batch norm without gamma and beta before each activation, over images and places."
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """32x32 images become maps of 16x16, 8x8, 4x4, 1x1."""
        from workloads.models.plain_networks import all_convolutional

        return all_convolutional(shape[0], shape[1:], self.width, classes, self.activation.build, self.batch_norm)

    def count(self, layers: Layers, classes: int) -> None:
        """A convolution over the whole map is a linear layer on it."""
        for _ in range(3):
            layers.convolution(self.width, stride=2, bias=True, norm=2 * self.batch_norm)
        layers.linear(self.width, norm=2 * self.batch_norm)
        layers.linear(classes)


class NTKConvNet(Network):
    """Five 3x3 convolutions of w, 2w, 2w, 4w, 4w channels with ReLU and two 3x3 max-pools, and a linear layer.

    680 parameters at w = 1, 24,420,010 at w = 300. Source: Goldblum et al., arXiv:1910.00359, section 4, figure 1.
    """

    name: Literal["ntk_convnet"] = "ntk_convnet"
    width: int = Field(default=10, gt=0, description="w.")

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """The max-pools follow the fourth and the fifth convolution: 32x32 images become maps of 10x10, then 3x3."""
        from workloads.models.plain_networks import ntk_convnet

        return ntk_convnet(shape[0], shape[1:], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """Five convolutions, with pools after the last two, and a linear layer."""
        for stage, multiple in enumerate((1, 2, 2, 4, 4)):
            layers.convolution(multiple * self.width, bias=True)
            if stage >= 3:
                layers.pool(3)
        layers.linear(classes)


class SmallAlexNet(Network):
    """Two 5x5 convolutions of 64 channels with max-pools, and linear layers of 384, 192 and as many units as classes.

    1,387,786 parameters on 28x28 images in 3 colours. Without the local response normalization that Zhang et al. 2017
    have: it has no parameters, and the source, which prints the count only, does not mention it.
    Source: Zhang et al., CBMM memo 067, table 2; form of Zhang et al., arXiv:1611.03530, appendix A.
    """

    name: Literal["small_alexnet"] = "small_alexnet"
    width: int = Field(
        default=64,
        gt=0,
        description="Channels of the convolutions; the hidden linear layers have 6 and 3 times as many.",
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """28x28 images become maps of 14x14, then 7x7."""
        from workloads.models.plain_networks import small_alexnet

        return small_alexnet(shape[0], shape[1:], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """Two convolutions, each with a pool that halves, and three linear layers."""
        for _ in range(2):
            layers.convolution(self.width, kernel=5, bias=True)
            layers.halve()
        for units in (6 * self.width, 3 * self.width, classes):
            layers.linear(units)


class VGG16(Network):
    """VGG-16 in its CIFAR form, with batch norm and one linear layer; 14,728,266 parameters on CIFAR-10.

    Source: Liu et al., arXiv:1906.02613, section 2, after Simonyan and Zisserman, arXiv:1409.1556.
    """

    name: Literal["vgg16"] = "vgg16"
    width: int = Field(
        default=64, gt=0, description="Channels of the first stack; the others have 2, 4, 8, 8 times as many."
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """13 convolutions with biases; the five 2x2 max-pools take 32x32 images to 1x1."""
        from workloads.models.plain_networks import vgg16

        return vgg16(shape[0], shape[1:], self.width, classes)

    def count(self, layers: Layers, classes: int) -> None:
        """Stacks of convolutions, a pool after each, and a linear layer."""
        for stack in VGG16_STACKS:
            for multiple in stack:
                layers.convolution(multiple * self.width, bias=True, norm=4)
            layers.pool(2)
        layers.linear(classes)


class VGGGeneralization(Network):
    """The VGG of "Exploring Generalization": four stacks of two 3x3 convolutions, two linear layers.

    `paper`: batch norm after each convolution (4,957,002 parameters on CIFAR-10) and a 4x4 average-pool at the end.
    `code`: batch norm in the hidden linear layer alone (4,954,186), a 4x4 max-pool, dropout after the hidden layer too.
    Both have 2x2 max-pools after the first three stacks: with the fourth one that the paper prints, 2x2 would be left
    and nothing to pool. Source: Neyshabur et al., arXiv:1706.08947, appendix A.
    """

    name: Literal["vgg_generalization"] = "vgg_generalization"
    variant: Literal["paper", "code"] = Field(default="paper", description="Where batch norm and which pools are.")
    width: int = Field(
        default=64, gt=0, description="Channels of the first stack; the others have 2, 4, 8, the hidden layer 8 times."
    )
    dropout: Real = Field(
        default=0.5, ge=0, lt=1, description="Share dropped after each stack; the paper prints none, its code has this."
    )

    def module(self, shape: Shape, classes: int) -> nn.Module:
        """32x32 images become maps of 16x16, 8x8, 4x4, 1x1; convolutions have biases."""
        from workloads.models.plain_networks import vgg_generalization

        return vgg_generalization(shape[0], shape[1:], self.width, classes, self.variant == "paper", self.dropout)

    def count(self, layers: Layers, classes: int) -> None:
        """Batch norm is behind the convolutions in the paper, behind the hidden linear layer in its code."""
        in_stacks = 4 * (self.variant == "paper")
        for stack in range(4):
            for _ in range(2):
                layers.convolution(self.width * 2**stack, bias=True, norm=in_stacks)
            layers.pool(4 if stack == 3 else 2)
        layers.linear(8 * self.width, norm=4 - in_stacks)
        layers.linear(classes)
