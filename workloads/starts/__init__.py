"""Where a training starts: from an initialization of its own, or from the weights of another node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from workloads.contract import Config

if TYPE_CHECKING:
    import torch


class Initialization(Config):
    """Weights drawn from the streams (seed, "init:NAME"), one for each parameter NAME."""

    init: Literal["default"] = "default"

    def apply(self, model: torch.nn.Module, seed: int) -> None:
        """Draw every parameter of `model`, in place."""
        from workloads.starts.default import initialize

        initialize(model, seed)


class FromStage(Config):
    """The final weights and buffers of another stage (`STAGE.start`: its initial ones)."""

    from_: str = Field(alias="from", description="A stage of the sweep.")


def _kind(value: Any) -> str:
    fields = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "from" if "from" in fields or "from_" in fields else "init"


Start = Annotated[Annotated[Initialization, Tag("init")] | Annotated[FromStage, Tag("from")], Discriminator(_kind)]
