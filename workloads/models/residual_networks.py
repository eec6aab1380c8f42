"""The modules behind the configs of `residual`: networks with shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from workloads.models.laws import Constant, Law, Normal
from workloads.models.layers import Bias, Scale, ZeroChannels
from workloads.models.size import MOBILENET_V2


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut around them."""

    EXPANSION = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _projection(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels, H/stride, W/stride)."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution with batch norm, and a shortcut around them."""

    EXPANSION = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.shortcut = _projection(channels_in, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, 4 channels, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def _projection(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """The shortcut: a 1x1 convolution with batch norm where the shape changes, else nothing."""
    if stride == 1 and channels_in == channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


def resnet(
    block: type[BasicBlock | BottleneckBlock], counts: Sequence[int], channels: int, width: int, classes: int
) -> nn.Sequential:
    """Stem, four stages of so many blocks, global average pool, linear."""
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    blocks: list[nn.Module] = []
    below = width
    for stage, count in enumerate(counts):
        for index in range(count):
            blocks.append(block(below, width * 2**stage, 2 if stage > 0 and index == 0 else 1))
            below = width * 2**stage * block.EXPANSION
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(below, classes))
    return nn.Sequential(stem, nn.Sequential(*blocks), head)


class FixupBlock(nn.Module):
    """Two 3x3 convolutions without batch norm, scalar biases around each, a scalar scale, and a shortcut.

    Where the shape changes the shortcut takes every second pixel and has zeros for the new channels.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.bias1a, self.bias1b, self.bias2a, self.bias2b = Bias(), Bias(), Bias(), Bias()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.scale = Scale()
        self.shortcut = nn.Sequential() if stride == 1 else nn.Sequential(nn.AvgPool2d(1, stride), ZeroChannels())
        self.shifts_shortcut = stride != 1

    def laws(self) -> dict[str, Law]:
        r"""$N(0, 2 / (9 C L))$ with $C$ output channels in a network of $L$ blocks; the last convolution 0."""
        std = sqrt(2 / (9 * self.conv1.out_channels * self.depth))
        return {"conv1.weight": Normal(std), "conv2.weight": Constant(0.0)}

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels, H/stride, W/stride)."""
        shifted = self.bias1a(x)
        y = torch.relu(self.bias1b(self.conv1(shifted)))
        y = self.bias2b(self.scale(self.conv2(self.bias2a(y))))
        return torch.relu(y + self.shortcut(shifted if self.shifts_shortcut else x))


class FixupResNet(nn.Module):
    """Stem, three stages of so many Fixup blocks, global average pool, linear."""

    def __init__(self, count: int, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bias1 = Bias()
        blocks: list[nn.Module] = []
        below = width
        for stage in range(3):
            for index in range(count):
                blocks.append(FixupBlock(below, width * 2**stage, 2 if stage > 0 and index == 0 else 1, 3 * count))
                below = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.bias2 = Bias()
        self.linear = nn.Linear(below, classes)

    def laws(self) -> dict[str, Law]:
        """The linear layer starts at 0; the stem as PyTorch's default; the blocks say their own."""
        return {"linear.weight": Constant(0.0), "linear.bias": Constant(0.0)}

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, classes)."""
        x = torch.relu(self.bias1(self.conv(x)))
        return self.linear(self.bias2(self.pool(self.blocks(x))))


class WideBlock(nn.Module):
    """Batch norm, ReLU, 3x3 convolution, twice, and a shortcut: 1x1 convolution where the shape changes.

    The original strides in the first convolution, takes the shortcut of a changed shape behind the first ReLU, and has
    no biases. Otherwise: in the second one, before batch norm, and biases.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, original: bool) -> None:
        super().__init__()
        biases, (first, second) = not original, (stride, 1) if original else (1, stride)
        changes = stride != 1 or channels_in != channels
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, first, padding=1, bias=biases)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, padding=1, bias=biases)
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=biases) if changes else nn.Identity()
        self.activates_shortcut = original and changes

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels, H/stride, W/stride)."""
        activated = torch.relu(self.bn1(x))
        y = self.conv2(torch.relu(self.bn2(self.conv1(activated))))
        return y + self.shortcut(activated if self.activates_shortcut else x)


def wide_resnet(depth: int, width: int, channels: int, classes: int, original: bool) -> nn.Sequential:
    """Stem of 16 channels, three stages of blocks with 16k, 32k, 64k, batch norm, ReLU, global average pool, linear."""
    stem = nn.Conv2d(channels, 16, 3, padding=1, bias=not original)
    blocks: list[nn.Module] = []
    below = 16
    for stage in range(3):
        for index in range((depth - 4) // 6):
            blocks.append(WideBlock(below, 16 * width * 2**stage, 2 if stage > 0 and index == 0 else 1, original))
            below = 16 * width * 2**stage
    norm = nn.BatchNorm2d(below, momentum=0.1 if original else 0.9)
    head = nn.Sequential(norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(below, classes))
    return nn.Sequential(stem, nn.Sequential(*blocks), head)


class InvertedResidual(nn.Module):
    """A 1x1 convolution to `expansion` times the channels, a 3x3 one of each channel by itself, a 1x1 one back.

    Each has batch norm, the first two ReLU. At stride 1 there is a shortcut.
    """

    def __init__(self, channels_in: int, channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * channels_in
        self.conv1 = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut = _projection(channels_in, channels, 1) if stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return y if self.shortcut is None else y + self.shortcut(x)


def mobilenet_v2(channels: int, width: int, classes: int) -> nn.Sequential:
    """Stem, seven stages of inverted residuals, a 1x1 convolution, global average pool, linear."""
    unit = width // 4
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    blocks: list[nn.Module] = []
    below = width
    for expansion, multiple, count, stride in MOBILENET_V2:
        for index in range(count):
            blocks.append(InvertedResidual(below, multiple * unit, expansion, stride if index == 0 else 1))
            below = multiple * unit
    last = nn.Sequential(nn.Conv2d(below, 160 * unit, 1, bias=False), nn.BatchNorm2d(160 * unit), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160 * unit, classes))
    return nn.Sequential(stem, nn.Sequential(*blocks), last, head)
