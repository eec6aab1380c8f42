"""An affine map inside a ReLU network: the construction in the proof of lemma 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workloads.training.evaluation import scale_and_shift, unit

BLOCK = 1000


def embed(
    model: nn.Module, weight: Tensor, bias: Tensor, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    r"""Set an MLP, in place, so that it is $x \mapsto A x + b$ on all of `images`, with all activations positive.

    With the singular value decomposition $A = U \Sigma V$ of rank at most $s$: the first layer is $\Sigma V$ with the
    bias $c = \max_{i,j} |(\Sigma V x_i)_j| + 1$, those between are the identity on $s$ units, the last one is $U$ with
    the bias $b - c\,U\mathbf{1}$. What a layer has beyond $s$ units has weights 0 and the bias $c$. All in float64; the
    network's own type rounds it. Source: Goldblum et al., arXiv:1910.00359, appendix A.1.

    Args:
        weight: A, (classes, inputs).
        bias: b, (classes,).
        images: As the data set keeps them, (N, C, H, W); normalized by `mean` and `std` before the network.

    Raises:
        ValueError: a hidden layer is narrower than the rank of A.
    """
    left, sizes, right = torch.linalg.svd(weight.double(), full_matrices=False)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    rank = int((sizes > sizes.max() * 1e-12).sum())
    narrowest = min(layer.out_features for layer in layers[:-1])
    if narrowest < rank:
        raise ValueError(f"start: lemma1 of a map of rank {rank} in a hidden layer of {narrowest} units")
    units = min(len(sizes), narrowest)
    first = sizes[:units, None] * right[:units]
    offset = _largest(first, images, mean, std) + 1
    for layer in layers[1:-1]:
        _set(layer, torch.eye(units, dtype=torch.float64), torch.zeros(units, dtype=torch.float64), offset)
    _set(layers[0], first, torch.full((units,), offset, dtype=torch.float64), offset)
    _set(layers[-1], left[:, :units], bias.double() - offset * left[:, :units].sum(1), 0.0)


def _set(layer: nn.Linear, corner: Tensor, bias: Tensor, beyond: float) -> None:
    """Weights of zeros but for the upper left `corner`; the bias of the corner's units, and of those beyond."""
    rows, columns = corner.shape
    layer.weight.zero_()
    layer.weight[:rows, :columns] = corner.to(layer.weight.dtype)
    layer.bias.fill_(beyond)
    layer.bias[:rows] = bias.to(layer.bias.dtype)


def _largest(first: Tensor, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> float:
    """The largest absolute value of `first` times a normalized image."""
    scale, shift = scale_and_shift(mean, std, torch.float64, images.device, unit(images))
    blocks = ((block.double() * scale + shift).flatten(1) @ first.T for block in images.split(BLOCK))
    return max(float(block.abs().max()) for block in blocks)
