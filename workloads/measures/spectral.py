"""Spectral norms of layers as the maps that they are: a convolution on images of the size it sees, zero-padded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from workloads.measures.snapshot import Snapshot

    Sized = list[tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]]

STEPS = 300
CLOSE = 1e-10  # of the squared norm, relative, from one step to the next


@measure(
    source="Neyshabur et al., arXiv:1706.08947, section 2; Sedghi et al., arXiv:1805.10408",
    unit="log of weights^layers",
    convention="weights of convolutions and linear layers, as they stand: without biases, batch norm not folded;"
    " convolutions with their stride and zero padding on the sizes they see; float64",
)
def log_spectral_product(snapshot: Snapshot) -> float:
    r"""$\sum_l \log \lVert A_l \rVert_2$ over the linear maps $A_l$ of convolutions and linear layers; natural log.

    It is -inf where a layer is zero, and nan where weights are not finite.
    """
    found = [spectral_norm(layer, shape) for layer, shape in sized_layers(snapshot)]
    return sum(-math.inf if value == 0 else math.log(value) for value in found)


def sized_layers(snapshot: Snapshot) -> Sized:
    """The convolutions and linear layers in the order they are used, each with the shape of one image before it."""
    import torch
    from torch import nn

    found: Sized = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        found.append((layer, tuple(inputs[0].shape[1:])))

    layers = [layer for layer in snapshot.model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            snapshot.model(torch.zeros(1, *snapshot.data.shape, device=snapshot.device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def spectral_norm(layer: nn.Conv2d | nn.Linear, shape: tuple[int, ...]) -> float:
    """The largest singular value of the layer without its bias on inputs of `shape`; convolutions by Lanczos' method.

    That begins with a vector drawn once and ends when the value stands still; it never exceeds the norm. It is nan
    where weights are not finite.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    weight = layer.weight.detach().cpu().double()
    if not weight.isfinite().all():
        return math.nan
    if isinstance(layer, nn.Linear):
        return float(torch.linalg.matrix_norm(weight, 2))

    def gram(x: Tensor) -> Tensor:
        x = x.view(1, *shape).requires_grad_()
        y = F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
        (found,) = torch.autograd.grad(y, x, y.detach())  # the transpose of the layer, on its own output
        return found.flatten()

    return math.sqrt(max(0.0, _largest(gram, math.prod(shape))))


def _largest(symmetric: Callable[[Tensor], Tensor], size: int) -> float:
    """The largest eigenvalue of a symmetric map: Lanczos, each vector made orthogonal to all before it."""
    import torch

    from workloads.streams import generator

    start = torch.randn(size, generator=generator(0, "lanczos"), dtype=torch.float64)
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    largest = 0.0
    for _ in range(min(size, STEPS)):
        x = symmetric(basis[-1])
        diagonal.append(float(x @ basis[-1]))
        middle, off = (torch.tensor(values, dtype=torch.float64) for values in (diagonal, beside))
        small = torch.diag(middle) + torch.diag(off, 1) + torch.diag(off, -1)
        former, largest = largest, torch.linalg.eigvalsh(small)[-1].item()
        known = torch.stack(basis)
        for _ in range(2):  # once is not enough in finite precision
            x = x - known.T @ (known @ x)
        if largest - former <= CLOSE * largest or x.norm() <= CLOSE * largest:
            break
        beside.append(float(x.norm()))
        basis.append(x / x.norm())
    return largest
