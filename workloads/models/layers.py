"""Layers that PyTorch lacks. Networks are made of these and of PyTorch's, so that each layer has one array twin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Size = tuple[int, int]


def unset(build: Callable[[], nn.Module]) -> nn.Module:
    """The module with parameters of undefined value: building it draws nothing from the global generator."""
    with torch.device("meta"):
        module = build()
    # What to_empty does, whose empty_like of a meta tensor imports sympy: half a second of every process
    return module._apply(lambda parameter: torch.empty(parameter.shape, dtype=parameter.dtype))


class Concatenate(nn.Module):
    """Joins feature maps along their channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        """(N, C_i, H, W) each -> (N, sum of C_i, H, W)."""
        return torch.cat(maps, 1)


class ZeroChannels(nn.Module):
    """Puts as many zero channels behind the given ones."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2C, H, W)."""
        return torch.cat((x, torch.zeros_like(x)), 1)


class Bias(nn.Module):
    """Adds one scalar parameter to every number."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(1))

    def forward(self, x: Tensor) -> Tensor:
        """x + bias, of any shape."""
        return x + self.bias


class Scale(nn.Module):
    """Multiplies every number by one scalar parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(1))

    def forward(self, x: Tensor) -> Tensor:
        """x * scale, of any shape."""
        return x * self.scale


class Polynomial(nn.Module):
    r"""$x \mapsto \sum_k c_k x^k$ of every number, by Horner's rule.

    Args:
        coefficients: $c_0, c_1, \dots$: constants of the architecture, so they are neither parameters nor buffers.
    """

    def __init__(self, coefficients: tuple[float, ...]) -> None:
        super().__init__()
        self.coefficients = coefficients

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        *lower, leading = self.coefficients
        y = torch.full_like(x, leading)
        for coefficient in reversed(lower):
            y = y * x + coefficient
        return y


def shift_only_batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm that learns beta and no gamma, which a ReLU behind it and the next layer make redundant."""
    layer = nn.BatchNorm2d(channels)
    layer.register_parameter("weight", None)
    return layer


def max_pool(size: Size, window: int) -> tuple[nn.MaxPool2d, Size]:
    """Max-pool over windows side by side, and the size of what it leaves of maps of `size`.

    No window is larger than the map, so that networks for 32x32 images also take small ones.
    """
    height, width = min(window, size[0]), min(window, size[1])
    return nn.MaxPool2d((height, width)), (size[0] // height, size[1] // width)


def average_pool(size: Size, window: int) -> tuple[nn.AvgPool2d, Size]:
    """`max_pool` with means in place of maxima."""
    height, width = min(window, size[0]), min(window, size[1])
    return nn.AvgPool2d((height, width)), (size[0] // height, size[1] // width)


def halved(size: Size) -> Size:
    """The size of what a 3x3 kernel of stride 2 with padding 1 leaves of maps of `size`."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2
