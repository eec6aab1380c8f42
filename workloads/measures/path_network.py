"""The copy of a network that sums over paths."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

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
Pass = Callable[[Tensor], Tensor]


def _replace(layer: nn.Module, p: int) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        layer.weight.abs_().pow_(p)
        layer.register_parameter("bias", None)
    elif isinstance(layer, Scale):
        layer.scale.abs_().pow_(p)
    elif (passing := _passing(layer, p)) is not None:
        layer.forward = passing
    elif isinstance(layer, Polynomial):
        raise ValueError("a path norm needs ReLU: a polynomial is not positively homogeneous")
    elif not isinstance(layer, PATHLESS) and [*layer.parameters(recurse=False)]:
        raise ValueError(f"path norms know no layer {type(layer).__name__}")


def _passing(layer: nn.Module, p: int) -> Pass | None:
    """What a layer does to sums over paths, where it is not what it does to images."""
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        scale = _batch_norm_scale(layer).abs().pow(p)
        return lambda x: x * scale.view(1, -1, *[1] * (x.ndim - 2))
    if isinstance(layer, nn.MaxPool2d):
        return lambda x: _window_sums(x, layer)
    if isinstance(layer, nn.AvgPool2d):
        area = layer.kernel_size**2 if isinstance(layer.kernel_size, int) else math.prod(layer.kernel_size)
        return lambda x: _window_sums(x, layer) * area ** -float(p)
    if isinstance(layer, nn.AdaptiveAvgPool2d):  # the global one: each position has the weight 1 / (H W)
        return lambda x: x.sum((2, 3), keepdim=True) * (x.shape[2] * x.shape[3]) ** -float(p)
    return (lambda x: x) if isinstance(layer, Bias) else None


def _window_sums(x: Tensor, pool: nn.MaxPool2d | nn.AvgPool2d) -> Tensor:
    return F.avg_pool2d(x, pool.kernel_size, pool.stride, pool.padding, divisor_override=1)


def _batch_norm_scale(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    assert layer.running_var is not None
    scale = (layer.running_var + layer.eps).rsqrt()
    return scale if layer.weight is None else scale * layer.weight
