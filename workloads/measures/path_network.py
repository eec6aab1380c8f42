"""The copy of a network that sums over paths."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.models.layers import Bias, Polynomial, Scale


@torch.no_grad()
def path_network(model: nn.Module, p: int) -> nn.Module:
    """A copy in float64 that sums $|w|^p$ along paths: biases gone, pools sums, batch norm a scale.

    Raises:
        ValueError: a layer has no such form.
    """
    network = copy.deepcopy(model).cpu().double().eval().requires_grad_(False)
    for layer in network.modules():
        _replace(layer, p)
    return network


PATHLESS = (nn.ReLU, nn.Dropout, nn.Identity, nn.Flatten)


def _replace(layer: nn.Module, p: int) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        layer.weight.abs_().pow_(p)
        layer.bias = None
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        layer.forward = _Scaled(_batch_norm_scale(layer).abs().pow(p))
    elif isinstance(layer, nn.MaxPool2d):
        layer.forward = _Summed(layer.kernel_size, layer.stride, layer.padding, 1.0)
    elif isinstance(layer, nn.AvgPool2d):
        layer.forward = _Summed(layer.kernel_size, layer.stride, layer.padding, _area(layer.kernel_size) ** -float(p))
    elif isinstance(layer, nn.AdaptiveAvgPool2d):
        layer.forward = _Global(p)
    elif isinstance(layer, Scale):
        layer.scale.abs_().pow_(p)
    elif isinstance(layer, Bias):
        layer.forward = _unchanged
    elif isinstance(layer, Polynomial):
        raise ValueError("a path norm needs ReLU: a polynomial is not positively homogeneous")
    elif not isinstance(layer, PATHLESS) and [*layer.parameters(recurse=False)]:
        raise ValueError(f"path norms know no layer {type(layer).__name__}")


def _batch_norm_scale(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    assert layer.running_var is not None
    scale = (layer.running_var + layer.eps).rsqrt()
    return scale if layer.weight is None else scale * layer.weight


def _area(kernel: int | tuple[int, ...]) -> int:
    return kernel**2 if isinstance(kernel, int) else math.prod(kernel)


def _unchanged(x: Tensor) -> Tensor:
    return x


class _Scaled:
    """Multiplies each channel."""

    def __init__(self, scale: Tensor) -> None:
        self.scale = scale

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.scale.view(1, -1, *[1] * (x.ndim - 2))


class _Summed:
    """Sums over windows, times a factor."""

    def __init__(self, kernel: int | tuple[int, ...], stride: int, padding: int, factor: float) -> None:
        self.kernel, self.stride, self.padding, self.factor = kernel, stride, padding, factor

    def __call__(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding, divisor_override=1) * self.factor


class _Global:
    """The global average pool: each position has the weight 1 / (H W)."""

    def __init__(self, p: int) -> None:
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        return x.sum((2, 3), keepdim=True) * (x.shape[2] * x.shape[3]) ** -float(self.p)
