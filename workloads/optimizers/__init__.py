"""How weights move, given a gradient: each a config, with the step that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from workloads.contract import Config

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.optimizers.descent import Move


class Group(Config):
    """Parameters whose rate or decay is a multiple of the others'."""

    match: str = Field(min_length=1, description="All parameters whose name contains this.")
    lr: float = Field(default=1.0, ge=0, description="Times the learning rate.")
    weight_decay: float = Field(default=1.0, ge=0, description="Times the weight decay.")


class SGD(Config):
    r"""$v \leftarrow m v + g + \lambda w$, $w \leftarrow w - \eta v$; weight decay on all parameters, as in PyTorch.

    With `batch_size: full` it is gradient descent.
    """

    ARRAYABLE: ClassVar[frozenset[str]] = frozenset({"lr", "momentum", "weight_decay"})

    name: Literal["sgd"] = "sgd"
    lr: float = Field(gt=0, description="Learning rate, eta.")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="m.")
    weight_decay: float = Field(
        default=0.0, ge=0, description="lambda: the loss gains lambda/2 times the squared norm."
    )
    groups: tuple[Group, ...] = Field(
        default=(), description="Exceptions; of several that match a parameter the last one holds."
    )

    def state(self, weights: Tensor) -> dict[str, Tensor]:
        """What the optimizer keeps from step to step, (S, P) each, all zero at first."""
        import torch

        return {"velocity": torch.zeros_like(weights)}

    def step(self, weights: Tensor, gradient: Sequence[Tensor], state: Mapping[str, Tensor], move: Move) -> None:
        """Move the stacked weights (S, P) in place, by a gradient in pieces (S, p)."""
        from workloads.optimizers.descent import descend

        descend(weights, gradient, state["velocity"], move)


class Langevin(SGD):
    r"""SGD with noise of constant power: $w \leftarrow w - \eta v + A \xi$, $\xi \sim N(0, I)$ on all parameters.

    At rate $\eta$ its nominal temperature is $A^2 / (2 \eta)$. Source: Zhang et al., CBMM memo 067, section 5.
    """

    ARRAYABLE: ClassVar[frozenset[str]] = SGD.ARRAYABLE | {"noise"}

    name: Literal["langevin"] = "langevin"  # pyright: ignore[reportIncompatibleVariableOverride]
    noise: float = Field(ge=0, description="A, the noise's standard deviation in each step; the schedule leaves it.")

    def step(self, weights: Tensor, gradient: Sequence[Tensor], state: Mapping[str, Tensor], move: Move) -> None:
        """Move the stacked weights (S, P) in place, by a gradient in pieces (S, p)."""
        from workloads.optimizers.descent import descend, diffuse

        descend(weights, gradient, state["velocity"], move)
        diffuse(weights, move)


Optimizer = Annotated[SGD | Langevin, Field(discriminator="name")]
