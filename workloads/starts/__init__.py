"""Where a training starts: from an initialization of its own, or from the weights of another node."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from workloads.starts.base import TrainingStart
from workloads.starts.drawn import BiasOffset, BiasUniform, He, Initialization, Zero
from workloads.starts.given import FromStage, Lemma1

__all__ = [
    "BiasOffset", "BiasUniform", "FromStage", "He", "Initialization", "Lemma1", "Start", "TrainingStart", "Zero",
]  # fmt: skip


def _kind(value: Any) -> str:
    fields = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "from a stage" if ("from" in fields or "from_" in fields) and "init" not in fields else "of its own"


_Init = Annotated[
    Initialization | He | Zero | BiasOffset | BiasUniform | Lemma1,
    Field(discriminator="init"),
]
Start = Annotated[Annotated[_Init, Tag("of its own")] | Annotated[FromStage, Tag("from a stage")], Discriminator(_kind)]
