"""The laws that parameters are drawn from at the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Uniform:
    r"""$U(-b, b)$ with the bound $b$."""

    bound: float

    def draw(self, parameter: Tensor, generator: torch.Generator) -> None:
        """Fill the parameter, in place."""
        parameter.uniform_(-self.bound, self.bound, generator=generator)


@dataclass(frozen=True)
class Normal:
    r"""$N(0, \sigma^2)$ with the standard deviation $\sigma$."""

    std: float

    def draw(self, parameter: Tensor, generator: torch.Generator) -> None:
        """Fill the parameter, in place."""
        parameter.normal_(0.0, self.std, generator=generator)


@dataclass(frozen=True)
class Constant:
    """One value, nothing drawn."""

    value: float

    def draw(self, parameter: Tensor, generator: torch.Generator) -> None:
        """Fill the parameter, in place."""
        parameter.fill_(self.value)


Law = Uniform | Normal | Constant
