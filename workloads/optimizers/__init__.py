"""How weights move: optimizers, and schedules of their learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from workloads.contract import Config

if TYPE_CHECKING:
    import torch


class SGD(Config):
    r"""$v \leftarrow m v + g + \lambda w$, $w \leftarrow w - \eta v$; weight decay on all parameters, as in PyTorch."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(gt=0, description="Learning rate, eta.")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="m.")
    weight_decay: float = Field(
        default=0.0, ge=0, description="lambda: the loss gains lambda/2 times the squared norm."
    )

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.SGD(
            parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, foreach=False
        )


class Constant(Config):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0)."""
        return 1.0


class Multistep(Config):
    """The learning rate times gamma from each milestone on, in epochs."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[int, ...]
    gamma: float = Field(default=0.1, gt=0)

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0).

        Example:
            >>> [Multistep(milestones=(2, 3), gamma=0.5).factor(epoch) for epoch in range(4)]
            [1.0, 1.0, 0.5, 0.25]
        """
        return float(self.gamma ** sum(epoch >= milestone for milestone in self.milestones))


Optimizer = Annotated[SGD, Field(discriminator="name")]
Schedule = Annotated[Constant | Multistep, Field(discriminator="name")]
