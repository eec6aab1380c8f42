"""The modules behind the configs of `branching`: networks whose maps are joined along the channels."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from workloads.models.laws import Constant, Law, Normal
from workloads.models.layers import Concatenate, Size, average_pool, shift_only_batch_norm
from workloads.models.size import INCEPTION


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 1x1 convolution to 4 `growth` channels, the same with 3x3 to `growth`, behind the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.concatenate = Concatenate()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels + growth, H, W)."""
        y = self.conv1(torch.relu(self.bn1(x)))
        return self.concatenate(x, self.conv2(torch.relu(self.bn2(y))))


class DenseNet(nn.Module):
    """Stem of 2 `growth` channels, three blocks of six layers, transitions between them, pool, linear.

    A transition is batch norm, ReLU, a 1x1 convolution to half the channels and a 2x2 average-pool.
    """

    def __init__(self, channels: int, size: Size, growth: int, classes: int, andreasveit: bool) -> None:
        super().__init__()
        self.andreasveit = andreasveit
        below = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(channels, below, 3, padding=1, bias=False)]
        for block in range(3):
            if block > 0:
                pool, size = average_pool(size, 2)
                norm, conv = nn.BatchNorm2d(below), nn.Conv2d(below, below // 2, 1, bias=False)
                layers += [norm, nn.ReLU(), conv, pool]
                below //= 2
            for _ in range(6):
                layers.append(DenseLayer(below, growth))
                below += growth
        pool, size = (nn.AdaptiveAvgPool2d(1), (1, 1)) if andreasveit else average_pool(size, 4)
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(below), nn.ReLU(), pool, nn.Flatten())
        self.linear = nn.Linear(below * size[0] * size[1], classes)

    def laws(self) -> dict[str, Law]:
        r"""Of andreasveit's: convolutions $N(0, 2 / (k^2 C))$ with $C$ output channels, the last bias 0."""
        if not self.andreasveit:
            return {}
        convolutions = {name: item for name, item in self.named_modules() if isinstance(item, nn.Conv2d)}
        normal = {
            f"{name}.weight": Normal(sqrt(2 / (item.out_channels * item.kernel_size[0] * item.kernel_size[1])))
            for name, item in convolutions.items()
        }
        return {**normal, "linear.bias": Constant(0.0)}

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, classes)."""
        return self.linear(self.features(x))


def _convolution(channels_in: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm without gamma, ReLU."""
    convolution = nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, shift_only_batch_norm(channels), nn.ReLU())


class Branches(nn.Module):
    """Several modules on one input, their results joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.concatenate = Concatenate()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, sum of the branches' channels, H', W')."""
        return self.concatenate(*(branch(x) for branch in self.branches))


def small_inception(channels: int, width: int, classes: int) -> nn.Sequential:
    """Stem, inception modules with two downsamplings between them, global average pool, linear."""
    unit = width // 6
    layers: list[nn.Module] = [_convolution(channels, width, 3)]
    below = width
    for multiples in INCEPTION:
        if isinstance(multiples, tuple):
            one, three = (multiple * unit for multiple in multiples)
            layers.append(Branches(_convolution(below, one, 1), _convolution(below, three, 3)))
            below = one + three
        else:
            halving = _convolution(below, multiples * unit, 3, stride=2)
            layers.append(Branches(halving, nn.MaxPool2d(3, stride=2, padding=1)))
            below += multiples * unit
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(below, classes))
