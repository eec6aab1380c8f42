"""What pulls on the weights beside the loss and weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from workloads.contract import Config, Real

if TYPE_CHECKING:
    from torch import Tensor


class NormBias(Config):
    r"""Pulls the squared norm of all parameters towards $\mu^2$: batch norm's gamma and beta and the biases count too.

    The paper prints the penalty $c\,|\lVert\phi\rVert^2 - \mu^2|$; its code adds $c\,\phi\,\mathrm{sign}(\lVert\phi
    \rVert^2 - \mu^2)$ to the gradient, half of that penalty's. Source: Goldblum et al., arXiv:1910.00359, section 3.
    """

    ARRAYABLE: ClassVar[frozenset[str]] = frozenset({"mu2", "weight"})

    name: Literal["norm_bias"] = "norm_bias"
    mu2: Real = Field(ge=0, description="mu^2, the squared norm it pulls to; at 0 it is weight decay.")
    weight: Real = Field(ge=0, description="c.")
    gradient: Literal["code", "paper"] = Field(
        default="code", description="code: c phi sign(.), as published; paper: 2 c phi sign(.), of the printed penalty."
    )

    def decay(self, weights: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """What the weights (S, P) are multiplied by and added to their gradient: (S, 1). Norms are float64 sums."""
        norm = weights.double().square().sum(1, keepdim=True)
        times = 2 if self.gradient == "paper" else 1
        return times * numbers["weight"] * (norm - numbers["mu2"]).sign().to(weights.dtype)


Regularizer = Annotated[NormBias, Field(discriminator="name")]
