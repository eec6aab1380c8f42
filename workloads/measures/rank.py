"""How evenly the singular values of convolutions are spread: the effective rank, layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import Measured, measure
from workloads.measures.spectral import sized_layers

if TYPE_CHECKING:
    from torch import nn

    from workloads.measures.snapshot import Snapshot

SOURCE = "Goldblum et al., arXiv:1910.00359, section 6, figure 2"
CONVENTION = (
    "convolutions with kernels larger than 1x1, in the order of use: in ResNets all but the shortcuts; without biases,"
    " batch norm not folded; as maps that wrap around at the edges; float64; grid `true`: of the size that the layer"
    " sees, with its stride; `published`: 7/4 of the layer's output, stride ignored, which on 32x32 images gives the"
    " published code's 56, 28, 14, 7, the first layer on the image itself: only to compare with its figure"
)
GRIDS = ("true", "published")


@measure(source=SOURCE, unit="1", convention=CONVENTION)
def effective_rank(snapshot: Snapshot, *, layer: int = 0, grid: str = "true") -> float:
    r"""$r = \sum_i \sigma_i / (\sum_i \sigma_i^2)^{1/2}$ of one convolution, counted from 0; 0 of one that is zero.

    It is within 1 and the root of the number of singular values, so grids of different size do not compare.

    Raises:
        ValueError: there is no such layer or grid; the layer's stride does not divide its image.
    """
    found = _convolutions(snapshot, grid)
    if not 0 <= layer < len(found):
        raise ValueError(f"effective_rank.layer: must be within 0 and {len(found) - 1}, got {layer}")
    return _rank(*found[layer])


@measure(source=SOURCE, unit="1, mean over convolutions", convention=CONVENTION)
def mean_effective_rank(snapshot: Snapshot, *, grid: str = "true") -> Measured:
    r"""The mean of `effective_rank` over the convolutions. Array: `ranks` (layers,).

    Raises:
        ValueError: as `effective_rank`.
    """
    import torch

    ranks = torch.tensor([_rank(*item) for item in _convolutions(snapshot, grid)], dtype=torch.float64)
    return Measured(ranks.mean().item(), {"ranks": ranks.numpy()})


def _convolutions(snapshot: Snapshot, grid: str) -> list[tuple[nn.Conv2d, tuple[int, int], int]]:
    """Each with the size of the images it is a map of, and its stride."""
    from torch import nn

    if grid not in GRIDS:
        raise ValueError(f"effective_rank.grid: one of {', '.join(GRIDS)}, got {grid!r}")
    found = []
    for layer, (_, *sides) in sized_layers(snapshot):
        if not isinstance(layer, nn.Conv2d) or math.prod(layer.kernel_size) == 1:
            continue
        height, width = sides
        if grid == "true":
            found.append((layer, (height, width), layer.stride[0]))
        elif not found:
            found.append((layer, (height, width), 1))
        else:
            found.append((layer, (_published(height, layer.stride[0]), _published(width, layer.stride[0])), 1))
    if not found:
        raise ValueError("effective_rank: the network has no convolution with a kernel larger than 1x1")
    return found


def _published(side: int, stride: int) -> int:
    return max(1, round(7 / 4 * math.ceil(side / stride)))


def _rank(layer: nn.Conv2d, size: tuple[int, int], stride: int) -> float:
    from workloads.spectra import convolution

    weight = layer.weight.detach().unflatten(0, (layer.groups, -1))  # with groups, a map for each
    return convolution.effective_rank(convolution.singular_values(weight, size, stride).flatten()).item()
