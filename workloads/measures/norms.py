"""Norms of the parameter vector and of how far it moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from workloads.measures.snapshot import Snapshot

CONVENTION = "all parameters, with biases and batch norm's gamma and beta; no running statistics; float64"


@measure(source="Goldblum et al., arXiv:1910.00359, appendix A.4", unit="weights", convention=CONVENTION)
def parameter_norm(snapshot: Snapshot) -> float:
    r"""$\lVert \phi \rVert_2$ of all parameters as one vector."""
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in snapshot.parameters.values()))


@measure(source="Liu et al., arXiv:1906.02613, section 4", unit="weights", convention=CONVENTION)
def distance_from_start(snapshot: Snapshot) -> float:
    r"""$\lVert \phi - \phi_0 \rVert_2$, with $\phi_0$ the parameters before the first step of the node measured."""
    moved = (tensor.double() - snapshot.start[name].double() for name, tensor in snapshot.parameters.items())
    return math.sqrt(sum(difference.square().sum().item() for difference in moved))
