"""Any set of measures on a trained network. Each measure is a node of its own, so adding one computes only that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from workloads.contract import Config, Context, Result
from workloads.datasets import Dataset
from workloads.measures import MeasureEntry

if TYPE_CHECKING:
    from workloads.measures.snapshot import Snapshot


class MeasureConfig(Config):
    """Which measures of which stage's network, on which data."""

    from_: str = Field(alias="from", description="The stage whose network is measured.")
    data: Dataset | None = Field(default=None, description="Default: that of the input, without corruption.")
    measures: tuple[MeasureEntry, ...] = Field(min_length=1, description="Names, or {name: ..., option: ...}.")
    threads: int = Field(default=1, gt=0, description="CPU threads; they change the rounding, so they are in the key.")

    @field_validator("measures")
    @classmethod
    def _distinct(cls, entries: tuple[MeasureEntry, ...]) -> tuple[MeasureEntry, ...]:
        names = [entry.name for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice; one column has one meaning")
        return entries


def resolve(config: MeasureConfig, inputs: Mapping[str, Config]) -> MeasureConfig:
    """The config with the data of its input, without corruption, where it names none.

    Raises:
        ValueError: the input trains on no data.
    """
    if config.data is not None:
        return config
    data = getattr(inputs["input"], "data", None)
    if data is None:
        raise ValueError("data: missing, and the stage it measures has none")
    return config.model_copy(update={"data": data.clean()})


def split(config: MeasureConfig) -> Mapping[str, MeasureConfig]:
    """One node per measure."""
    return {entry.name: config.model_copy(update={"measures": (entry,)}) for entry in config.measures}


def run(config: MeasureConfig, context: Context) -> Result:
    """Measure the input's network; siblings share the loaded snapshot."""
    import torch

    torch.set_num_threads(config.threads)
    assert config.data is not None  # resolve() has seen to it
    key = ("snapshot", context.inputs["input"].key, config.data, context.seed, config.threads)
    snapshot: Snapshot = context.memo(key, lambda: _snapshot(config, context))
    return Result(metrics={entry.name: entry(snapshot) for entry in config.measures})


def _snapshot(config: MeasureConfig, context: Context) -> Snapshot:
    from workloads.measures.snapshot import Snapshot

    below = context.inputs["input"]
    assert config.data is not None
    data = config.data.load(context.data_dir, context.seed)
    model = below.config.model.build(data.shape, data.classes)  # pyright: ignore[reportAttributeAccessIssue]
    model.load_state_dict(below.weights())
    model.to(context.device).eval().requires_grad_(False)
    return Snapshot(model, below.start(), data, context.device)
