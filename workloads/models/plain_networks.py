"""The modules behind the configs of `plain`: layers in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from workloads.models.layers import Size, average_pool, halved, max_pool
from workloads.models.size import VGG16_STACKS

Activation = Callable[[], nn.Module]


def mlp(widths: Sequence[int], batch_norm: bool, dropout: float) -> nn.Sequential:
    """Linear layers of these widths with (batch norm,) ReLU (and dropout) between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(widths[:-1]):
        layers.append(nn.Linear(fan_in, fan_out))
        if batch_norm:
            layers.append(nn.BatchNorm1d(fan_out))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def conv4(
    channels: int, size: Size, widths: Sequence[int], classes: int, activation: Activation, batch_norm: bool,
    dropout: float,
) -> nn.Sequential:  # fmt: skip
    """3x3 convolutions of stride 2, each with (batch norm,) activation (and dropout), and a linear layer."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise((channels, *widths)):
        layers.append(nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(fan_out))
        layers.append(activation())
        if dropout:
            layers.append(nn.Dropout(dropout))
        size = halved(size)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * size[0] * size[1], classes))


def all_convolutional(
    channels: int, size: Size, width: int, classes: int, activation: Activation, batch_norm: bool
) -> nn.Sequential:
    """Three 3x3 convolutions of stride 2, one over the whole of what they leave, and a linear layer."""
    layers: list[nn.Module] = []
    for fan_in in (channels, width, width, None):
        if fan_in is None:
            layers.append(nn.Conv2d(width, width, size))
        else:
            layers.append(nn.Conv2d(fan_in, width, 3, stride=2, padding=1))
            size = halved(size)
        if batch_norm:
            layers.append(nn.BatchNorm2d(width, affine=False))
        layers.append(activation())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, classes))


def ntk_convnet(channels: int, size: Size, width: int, classes: int) -> nn.Sequential:
    """Five 3x3 convolutions with ReLU, 3x3 max-pools after the fourth and the fifth, and a linear layer."""
    layers: list[nn.Module] = []
    for stage, (fan_in, fan_out) in enumerate(pairwise((channels, width, 2 * width, 2 * width, 4 * width, 4 * width))):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU()]
        if stage >= 3:
            pool, size = max_pool(size, 3)
            layers.append(pool)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * size[0] * size[1], classes))


def small_alexnet(channels: int, size: Size, width: int, classes: int) -> nn.Sequential:
    """Two 5x5 convolutions, each with ReLU and a 3x3 max-pool of stride 2, and three linear layers."""
    layers: list[nn.Module] = []
    for fan_in in (channels, width):
        layers += [nn.Conv2d(fan_in, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
        size = halved(size)
    layers.append(nn.Flatten())
    for fan_in, fan_out in pairwise((width * size[0] * size[1], 6 * width, 3 * width)):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(3 * width, classes))


def vgg16(channels: int, size: Size, width: int, classes: int) -> nn.Sequential:
    """Stacks of 3x3 convolutions with batch norm and ReLU, a 2x2 max-pool after each, and a linear layer."""
    layers: list[nn.Module] = []
    for stack in VGG16_STACKS:
        for multiple in stack:
            layers += [nn.Conv2d(channels, multiple * width, 3, padding=1), nn.BatchNorm2d(multiple * width), nn.ReLU()]
            channels = multiple * width
        pool, size = max_pool(size, 2)
        layers.append(pool)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size[0] * size[1], classes))


def vgg_generalization(
    channels: int, size: Size, width: int, classes: int, as_in_paper: bool, dropout: float
) -> nn.Sequential:
    """Four stacks of two 3x3 convolutions, a pool and dropout after each; a hidden and an output linear layer."""
    layers: list[nn.Module] = []
    for stack in range(4):
        for _ in range(2):
            layers.append(nn.Conv2d(channels, width * 2**stack, 3, padding=1))
            channels = width * 2**stack
            layers += [nn.BatchNorm2d(channels), nn.ReLU()] if as_in_paper else [nn.ReLU()]
        kind = average_pool if stack == 3 and as_in_paper else max_pool
        pool, size = kind(size, 4 if stack == 3 else 2)
        layers += [pool, nn.Dropout(dropout)]
    hidden: list[nn.Module] = [nn.Linear(channels * size[0] * size[1], 8 * width)]
    hidden += [nn.ReLU()] if as_in_paper else [nn.BatchNorm1d(8 * width), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(8 * width, classes))
