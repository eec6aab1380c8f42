"""Array twins: what a layer of one network is for S networks at once.

Each twin takes its parameters as slices (S, numel) of the stacked weights, laid out as `Network` lays them out, and
keeps them until the next forward pass. Layers without parameters that treat every channel alike need no twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.models.layers import Bias, Concatenate, Polynomial, Scale, ZeroChannels

SAME = (nn.ReLU, nn.ReLU6, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Identity, Polynomial)
"""Layers that are their own twins: they act on each channel, or on each number, by itself."""


class Twin(nn.Module):
    """A layer of S networks. `parts` are its parameters, (S, numel) each, before every forward pass."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.parts: dict[str, Tensor] = {}


class LinearArray(Twin):
    """(S, N, fan_in) -> (S, N, fan_out): one matrix product a network, all in one call."""

    def __init__(self, layer: nn.Linear, size: int) -> None:
        super().__init__(size)
        self.shape = layer.out_features, layer.in_features

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.parts["weight"], self.parts.get("bias")
        if self.size == 1:
            return F.linear(x.squeeze(0), weight.view(self.shape), None if bias is None else bias.squeeze(0))[None]
        weight = weight.view(self.size, *self.shape)
        if bias is None:
            return torch.bmm(x, weight.transpose(1, 2))
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


class Conv2dArray(Twin):
    """(N, S*C, H, W) -> (N, S*O, H', W'): a convolution in groups, S times as many as the layer has."""

    def __init__(self, layer: nn.Conv2d, size: int) -> None:
        super().__init__(size)
        self.channels_last = True
        out_channels, channels, *kernel = layer.weight.shape
        self.stored = (size * out_channels, *kernel, channels)
        # oneDNN's gradient of a strided 1x1 kernel writes past its workspace where channels lie innermost and are few
        # (uxlfoundation/oneDNN issue 6035): the places it looks at are picked out beforehand, which is the same.
        self.picked = layer.stride if tuple(kernel) == (1, 1) and layer.padding == (0, 0) else (1, 1)
        self.options: dict[str, Any] = {
            "stride": (1, 1) if self.picked != (1, 1) else layer.stride,
            "padding": layer.padding,
            "dilation": layer.dilation,
            "groups": layer.groups * size,
        }

    def forward(self, x: Tensor) -> Tensor:
        weight = self.parts["weight"].reshape(self.stored).permute(0, 3, 1, 2)
        if not self.channels_last:
            x, weight = x.contiguous(), weight.contiguous()
        if self.picked != (1, 1):
            x = x[:, :, :: self.picked[0], :: self.picked[1]]
        bias = self.parts.get("bias")
        return F.conv2d(x, weight, None if bias is None else bias.reshape(-1), **self.options)


class BatchNormArray(Twin):
    """Batch norm over S*C channels: each network's own statistics. Of feature maps, or of vectors (S, N, C)."""

    def __init__(self, layer: nn.BatchNorm2d | nn.BatchNorm1d, size: int) -> None:
        super().__init__(size)
        self.momentum, self.epsilon = layer.momentum, layer.eps
        self.running: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        vectors = x.dim() == 3
        flat = x.transpose(0, 1).flatten(1) if vectors else x
        mean, variance = self.running["running_mean"].view(-1), self.running["running_var"].view(-1)
        # Contiguous: torch's gradient of batch norm takes a weight's stride for 1 where channels lie innermost.
        scale, shift = (
            self.parts[name].reshape(-1).contiguous() if name in self.parts else None for name in ("weight", "bias")
        )
        y = F.batch_norm(flat, mean, variance, scale, shift, self.training, self.momentum or 0.0, self.epsilon)
        return y.unflatten(1, (self.size, -1)).transpose(0, 1) if vectors else y


class DropoutArray(Twin):
    """Each network's mask from its own key and step, so that it is the same in whatever array the network is."""

    def __init__(self, layer: nn.Dropout, size: int) -> None:
        super().__init__(size)
        self.rate = layer.p
        self.uniform: Callable[[Sequence[int]], Tensor]  # of the network that the layer is in

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        shape = x.shape[1:] if x.dim() == 3 else (x.shape[0], x.shape[1] // self.size, *x.shape[2:])
        kept = self.uniform(shape) >= self.rate
        if x.dim() == 4:
            kept = kept.transpose(0, 1).flatten(1, 2)
        return x * kept / (1 - self.rate)


class FlattenArray(Twin):
    """Feature maps (N, S*C, H, W) -> vectors (S, N, C*H*W)."""

    def __init__(self, layer: nn.Flatten, size: int) -> None:
        super().__init__(size)
        if (layer.start_dim, layer.end_dim) != (1, -1):
            raise TypeError("an array can flatten whole images only")

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.size, -1)).flatten(2).transpose(0, 1)


class ConcatenateArray(Twin):
    """Joins feature maps (N, S*C_i, H, W) network by network, along the channels, which lie innermost in memory."""

    def __init__(self, layer: Concatenate, size: int) -> None:
        super().__init__(size)

    def forward(self, *maps: Tensor) -> Tensor:
        if self.size == 1:
            return torch.cat(maps, 1)
        inner = [item.permute(0, 2, 3, 1).unflatten(-1, (self.size, -1)) for item in maps]
        return torch.cat(inner, -1).flatten(-2).permute(0, 3, 1, 2)


class ZeroChannelsArray(Twin):
    """As many zero channels behind each network's own."""

    def __init__(self, layer: ZeroChannels, size: int) -> None:
        super().__init__(size)

    def forward(self, x: Tensor) -> Tensor:
        inner = x.permute(0, 2, 3, 1).unflatten(-1, (self.size, -1))
        return F.pad(inner, (0, inner.shape[-1])).flatten(-2).permute(0, 3, 1, 2)


def _like(number: Tensor, x: Tensor, size: int) -> Tensor:
    """One number a network, (S, 1), in a shape that broadcasts against vectors or feature maps."""
    if x.dim() == 3:
        return number[:, None]
    return number.expand(size, x.shape[1] // size).reshape(1, -1, 1, 1)


class BiasArray(Twin):
    """Adds each network's own scalar."""

    def __init__(self, layer: Bias, size: int) -> None:
        super().__init__(size)

    def forward(self, x: Tensor) -> Tensor:
        return x + _like(self.parts["bias"], x, self.size)


class ScaleArray(Twin):
    """Multiplies by each network's own scalar."""

    def __init__(self, layer: Scale, size: int) -> None:
        super().__init__(size)

    def forward(self, x: Tensor) -> Tensor:
        return x * _like(self.parts["scale"], x, self.size)


TWINS: Mapping[type[nn.Module], Callable[[Any, int], Twin]] = {
    nn.Linear: LinearArray,
    nn.Conv2d: Conv2dArray,
    nn.BatchNorm1d: BatchNormArray,
    nn.BatchNorm2d: BatchNormArray,
    nn.Dropout: DropoutArray,
    nn.Flatten: FlattenArray,
    Concatenate: ConcatenateArray,
    ZeroChannels: ZeroChannelsArray,
    Bias: BiasArray,
    Scale: ScaleArray,
}


def twin(layer: nn.Module, size: int) -> nn.Module:
    """The layer for `size` networks; composite modules are changed in place, layer by layer.

    Raises:
        TypeError: a layer is neither known nor made of known ones.
    """
    if type(layer) in TWINS:
        return TWINS[type(layer)](layer, size)
    if isinstance(layer, SAME):
        return layer
    children = [*layer.named_children()]
    own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    if own or not (children or isinstance(layer, nn.Sequential)):
        raise TypeError(f"{type(layer).__name__}: no array twin is known for this layer (workloads/arrays/layers.py)")
    for name, child in children:
        setattr(layer, name, twin(child, size))
    return layer
