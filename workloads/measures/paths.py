"""Path norms: sums over all paths from an input to an output of what the weights on them multiply to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from workloads.measures.snapshot import Snapshot

CONVENTION = (
    "eval mode; biases are on no path; batch norm is a scale gamma / sqrt(var + eps) for each channel; each place in "
    "a max-pool's window and in the image is a path of its own; a shortcut has weight 1; natural logarithm, float64"
)
SCALES = (1.0, 1e-100, 1e-200, 1e-300)  # of the ones that go in: a path norm beyond float64 still has a logarithm


@measure(
    source="Neyshabur et al., arXiv:1503.00036, equation 7; Liu et al., arXiv:1906.02613, figure 5",
    unit="nats",
    convention=CONVENTION,
)
def log_path_norm(snapshot: Snapshot, *, p: int = 1) -> float:
    r"""$\log \big(\sum_{\text{paths}} \prod_{w \in \text{path}} |w|^p\big)^{1/p}$ over all inputs and outputs.

    An image of ones goes through the network with every weight $w$ replaced by $|w|^p$. The value grows with the size
    of the image, so only networks for images of one size compare. It is nan where a weight is.

    Raises:
        ValueError: p is not positive, or the network has a layer that is not positively homogeneous.
    """
    import torch

    from workloads.measures.path_network import path_network

    if p < 1:
        raise ValueError(f"log_path_norm.p: must be at least 1, got {p}")
    network = path_network(snapshot.model, p)
    for scale in SCALES:
        total = network(torch.full((1, *snapshot.data.shape), scale, dtype=torch.float64)).sum().item()
        if math.isnan(total):
            return math.nan
        if math.isfinite(total):
            return (math.log(total) - math.log(scale)) / p if total > 0 else -math.inf
    return math.inf
