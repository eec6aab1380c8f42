"""Starts that a network draws for itself: the usual ones, and those that lead into bad local minima."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workloads.contract import Context, Real
from workloads.starts.base import TrainingStart

if TYPE_CHECKING:
    from torch import Tensor, nn

    from workloads.datasets.images import Data

Weights = Literal["default", "he_uniform", "he_normal"]


class DrawnStart(TrainingStart):
    """The base of starts that look at nothing but the network and the seed."""

    @abstractmethod
    def apply(self, model: nn.Module, seed: int) -> None:
        """Set every parameter of `model`, in place."""

    def begin(self, build: Callable[[], nn.Module], data: Data, context: Context) -> Mapping[str, Tensor]:
        """Parameters and buffers before the first step."""
        model = build()
        self.apply(model, context.seed)
        return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class Initialization(DrawnStart):
    """Weights drawn from the streams (seed, "init:NAME"), one for each parameter NAME."""

    init: Literal["default"] = "default"

    def apply(self, model: nn.Module, seed: int) -> None:
        """Draw every parameter of `model`, in place."""
        from workloads.starts.default import initialize

        initialize(model, seed)


class He(DrawnStart):
    r"""Weights of linear layers and convolutions with variance $2/n$, $n$ the fan-in; their biases are 0.

    It holds for those whose network states another law too. All else starts as by default.
    Source: He et al., arXiv:1502.01852, section 2.2.
    """

    init: Literal["he"] = "he"
    law: Literal["uniform", "normal"] = Field(
        default="uniform", description="U(-b, b) with b = (6/n)^(1/2), or N(0, 2/n); the same variance."
    )

    def apply(self, model: nn.Module, seed: int) -> None:
        """Draw every parameter of `model`, in place."""
        from workloads.starts.default import he, initialize

        initialize(model, seed)
        he(model, seed, self.law == "normal")


class Zero(DrawnStart):
    """Every parameter 0, batch norm's gamma too.

    Source: the published code of Goldblum et al., arXiv:1910.00359, table 2.
    """

    init: Literal["zero"] = "zero"

    def apply(self, model: nn.Module, seed: int) -> None:
        """Set every parameter of `model`, in place; running statistics as at any start."""
        import torch

        from workloads.starts.default import initialize

        initialize(model, seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()


class BiasStart(DrawnStart):
    """The base of starts with unusual biases: of all layers, the last too, and batch norm's beta."""

    weights: Weights = Field(default="default", description="How everything is drawn first.")

    def apply(self, model: nn.Module, seed: int) -> None:
        """Draw every parameter of `model`, in place, then change those whose name contains `bias`."""
        import torch

        first = Initialization() if self.weights == "default" else He(law=_law(self.weights))
        first.apply(model, seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "bias" in name:
                    self.change(name, parameter, seed)

    @abstractmethod
    def change(self, name: str, bias: Tensor, seed: int) -> None:
        """Change one bias, in place."""


def _law(weights: Weights) -> Literal["uniform", "normal"]:
    return "normal" if weights == "he_normal" else "uniform"


class BiasOffset(BiasStart):
    """A number added to every bias: "Bias+20".

    Source: Goldblum et al., arXiv:1910.00359, tables 1 and 2, as their code has it.
    """

    init: Literal["bias_offset"] = "bias_offset"
    offset: Real = Field(description="What is added.")

    def change(self, name: str, bias: Tensor, seed: int) -> None:
        """In place."""
        bias.add_(self.offset)


class BiasUniform(BiasStart):
    r"""Every bias from $U(-b, b)$, in place of what it was: "Bias U(-50, 50)".

    From the streams (seed, "init:bias:NAME"), one for each bias NAME.
    Source: Goldblum et al., arXiv:1910.00359, tables 1 and 2, as their code has it.
    """

    init: Literal["bias_uniform"] = "bias_uniform"
    bound: Real = Field(gt=0, description="b.")

    def change(self, name: str, bias: Tensor, seed: int) -> None:
        """In place."""
        from workloads.models.laws import Uniform
        from workloads.streams import generator

        Uniform(self.bound).draw(bias, generator(seed, f"init:bias:{name}"))
