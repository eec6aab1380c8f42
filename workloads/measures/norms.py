"""Norms of the parameter vector and of how far it moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from workloads.measures.snapshot import Snapshot

CONVENTION = "all parameters, with biases and batch norm's gamma and beta; no running statistics; float64"


@measure(
    source="Goldblum et al., arXiv:1910.00359, appendix A.4; Liu et al., arXiv:1906.02613, figure 5 (Frobenius norm)",
    unit="weights",
    convention=CONVENTION + "; or, with only_weights, of convolutions and linear layers without biases",
)
def parameter_norm(snapshot: Snapshot, *, only_weights: bool = False) -> float:
    r"""$\lVert \phi \rVert_2$ of all parameters as a vector; of matrices $(\sum_l \lVert W_l \rVert_F^2)^{1/2}$."""
    names = weights(snapshot) if only_weights else [*snapshot.parameters]
    return math.sqrt(sum(snapshot.parameters[name].double().square().sum().item() for name in names))


@measure(
    source="Liu et al., arXiv:1906.02613, table 1",
    unit="1",
    convention=CONVENTION + "; or, with only_weights, of convolutions and linear layers without biases",
)
def relative_distance(first: Snapshot, second: Snapshot, *, only_weights: bool = False) -> float:
    r"""$\lVert W_1 - W_2 \rVert_2 / \lVert W_2 \rVert_2$; the table prints no index, and only the second one fits it.

    Raises:
        ValueError: the networks have other parameters.
    """
    names = weights(second) if only_weights else [*second.parameters]
    shapes = [{name: tensor.shape for name, tensor in item.parameters.items()} for item in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError("relative_distance: the two networks have different parameters")
    pairs = [(first.parameters[name].double(), second.parameters[name].double()) for name in names]
    apart = sum((one - other).square().sum().item() for one, other in pairs)
    size = sum(other.square().sum().item() for _, other in pairs)
    return math.sqrt(apart / size) if size else math.inf


def weights(snapshot: Snapshot) -> list[str]:
    """The names of the weights of convolutions and linear layers."""
    from torch import nn

    layers = {name: layer for name, layer in snapshot.model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    return [f"{name}.weight" for name in layers]


@measure(source="Liu et al., arXiv:1906.02613, section 3.3", unit="weights", convention=CONVENTION)
def distance_from_start(snapshot: Snapshot) -> float:
    r"""$\lVert \phi - \phi_0 \rVert_2$, with $\phi_0$ the parameters before the first step of the node measured."""
    moved = (tensor.double() - snapshot.start[name].double() for name, tensor in snapshot.parameters.items())
    return math.sqrt(sum(difference.square().sum().item() for difference in moved))


@measure(
    source="Goldblum et al., arXiv:1910.00359, figure 5 (right), as their code has it",
    unit="weights",
    convention=CONVENTION + "; not divided by the parameters' norm, though the figure calls it relative",
)
def mean_change_from_start(snapshot: Snapshot) -> float:
    r"""$(\sum_t \lVert \phi_t - \phi_{t,0} \rVert_2^2 / n_t)^{1/2}$ over parameter tensors $t$ of $n_t$ numbers."""
    moved = (tensor.double() - snapshot.start[name].double() for name, tensor in snapshot.parameters.items())
    return math.sqrt(sum(difference.square().mean().item() for difference in moved))
