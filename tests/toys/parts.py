"""A workload whose config has every kind of field: unions, lists of named parts, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from orchestrator.errors import allowed
from workloads.contract import Config, Context, Real, Result


class Digits(Config):
    name: Literal["digits"] = "digits"
    labels: Literal["true", "random"] = "true"


class Cifar10(Config):
    name: Literal["cifar10"] = "cifar10"
    labels: Literal["true", "random"] = "true"
    augment: str = "none"
    zero_out: float = Field(default=0.0, ge=0, lt=1)


class Mlp(Config):
    name: Literal["mlp"] = "mlp"
    width: int = Field(default=8, gt=0)
    bias: bool = True


class Linear(Config):
    name: Literal["linear"] = "linear"
    scale: float


class Stop(Config):
    epochs: int = Field(default=10, ge=0)


class Fgsm(Config):
    name: Literal["fgsm"] = "fgsm"
    epsilon: Real = 0.1


class Norm(Config):
    name: Literal["norm"] = "norm"


class FromStage(Config):
    stage: str = Field(alias="from")


class Fresh(Config):
    init: Literal["default", "orthogonal"] = "default"


Data = Annotated[Digits | Cifar10, Field(discriminator="name")]
Model = Annotated[Mlp | Linear, Field(discriminator="name")]


class PartsConfig(Config):
    data: Data | None = None
    model: Model = Mlp()
    stop: Stop = Stop()
    start: FromStage | Fresh = Fresh()
    milestones: tuple[int, ...] = ()
    measures: tuple[Annotated[Fgsm | Norm, Field(discriminator="name")], ...] = ()
    threads: int = 1
    from_: str | Mapping[str, str] | None = Field(default=None, alias="from")

    @field_validator("measures", mode="before")
    @classmethod
    def _names(cls, entries: object) -> object:
        """An entry may be a bare name."""
        if not isinstance(entries, list):
            return entries
        for entry in entries:
            if isinstance(entry, str) and entry not in ("fgsm", "norm"):
                raise ValueError(f"unknown measure {entry!r}; {allowed(entry, ['fgsm', 'norm'])}")
        return tuple({"name": entry} if isinstance(entry, str) else entry for entry in entries)


def run(config: PartsConfig, context: Context) -> Result:
    """The width of the network."""
    return Result(metrics={"width": float(config.model.width if isinstance(config.model, Mlp) else 0)})
