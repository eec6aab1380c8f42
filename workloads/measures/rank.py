"""How evenly the singular values of convolutions are spread: the effective rank, layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import Measured, measure

if TYPE_CHECKING:
    from workloads.measures.snapshot import Snapshot

SOURCE = "Goldblum et al., arXiv:1910.00359, section 5, figure 2"
CONVENTION = (
    "convolutions with kernels larger than 1x1, in the order of use: in ResNets all but the shortcuts; without biases,"
    " batch norm not folded; as maps that wrap around at the edges; float64; grid `input`: of the size that the layer"
    " sees, with its stride; `published`: 7/4 of the layer's output, stride ignored, which on 32x32 images gives the"
    " published code's 56, 28, 14, 7, the first layer on the image itself: only to compare with its figure"
)


@measure(source=SOURCE, unit="1", convention=CONVENTION)
def effective_rank(snapshot: Snapshot, *, layer: int = 0, grid: str = "input") -> float:
    r"""$r = \sum_i \sigma_i / (\sum_i \sigma_i^2)^{1/2}$ of one convolution, counted from 0; 0 of one that is zero.

    It is nan of one whose weights are not finite.

    It is within 1 and the root of the number of singular values, so grids of different size do not compare.

    Raises:
        ValueError: there is no such layer or grid; the network has no convolution larger than 1x1.
    """
    found = snapshot.memo(("effective_rank", grid), lambda: _ranks(snapshot, grid))
    if not 0 <= layer < len(found):
        raise ValueError(f"effective_rank.layer: must be within 0 and {len(found) - 1}, got {layer}")
    return found[layer]


@measure(source=SOURCE, unit="1, mean over convolutions", convention=CONVENTION)
def mean_effective_rank(snapshot: Snapshot, *, grid: str = "input") -> Measured:
    r"""The mean of `effective_rank` over the convolutions. Array: `ranks` (layers,).

    Raises:
        ValueError: as `effective_rank`.
    """
    import torch

    found = snapshot.memo(("effective_rank", grid), lambda: _ranks(snapshot, grid))
    ranks = torch.tensor(found, dtype=torch.float64)
    return Measured(ranks.mean().item(), {"ranks": ranks.numpy()})


def _ranks(snapshot: Snapshot, grid: str) -> list[float]:
    """Of each convolution with a kernel larger than 1x1."""
    from workloads.spectra.convolution import effective_rank, singular_values
    from workloads.spectra.grids import convolutions

    found = []
    for _, layer, size, stride in convolutions(snapshot, grid):
        if math.prod(layer.kernel_size) > 1:
            weight = layer.weight.detach().unflatten(0, (layer.groups, -1))  # with groups, a map for each
            finite = bool(weight.isfinite().all())
            values = singular_values(weight, size, stride).flatten() if finite else weight.new_tensor([math.nan])
            found.append(effective_rank(values).item())
    if not found:
        raise ValueError("effective_rank: the network has no convolution with a kernel larger than 1x1")
    return found
