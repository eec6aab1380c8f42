"""Any set of measures on a trained network. Each measure is a node of its own, so adding one computes only that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from workloads.contract import Config, Context, Result
from workloads.datasets import Dataset
from workloads.measures import MeasureEntry
from workloads.work import Work

if TYPE_CHECKING:
    from workloads.measures.snapshot import Snapshot


class MeasureConfig(Config):
    """Which measures of which stage's network, on which data."""

    from_: str | Mapping[str, str] = Field(
        alias="from", description="The stage whose network is measured; {first: ..., second: ...} for comparisons."
    )
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
    """The config with the data of its inputs, without corruption, where it names none.

    Raises:
        ValueError: a measure looks at other inputs than there are; the inputs train on no data, or on several.
    """
    for entry in config.measures:
        if {*entry.roles} - inputs.keys():
            wanted = (
                "STAGE" if entry.roles == ("input",) else "{" + ", ".join(f"{it}: STAGE" for it in entry.roles) + "}"
            )
            raise ValueError(f"from: {entry.name} wants `from: {wanted}`; it has {', '.join(inputs)}")
    if config.data is not None:
        return config
    found = [data.clean() for item in inputs.values() if (data := getattr(item, "data", None)) is not None]
    if not found:
        raise ValueError("data: missing, and the stage it measures has none")
    if any(data != found[0] for data in found):
        raise ValueError("data: missing, and the stages it compares train on different data")
    return config.model_copy(update={"data": found[0]})


def split(config: MeasureConfig) -> Mapping[str, MeasureConfig]:
    """One node per measure."""
    return {entry.name: config.model_copy(update={"measures": (entry,)}) for entry in config.measures}


def work(config: MeasureConfig, inputs: Mapping[str, Config]) -> Work | None:
    """One look at every image by each measure; what a measure does beside that is for forecasts to learn."""
    model = getattr(inputs.get("input"), "model", None)
    images = None if config.data is None else config.data.images()
    if model is None or images is None or config.data is None:
        return None
    size = model.size(config.data.SHAPE, config.data.CLASSES)
    return Work(2.0 * size.multiply_adds * sum(images) * len(config.measures))


def run(config: MeasureConfig, context: Context) -> Result:
    """Measure the input's network; siblings share the loaded snapshot."""
    import torch

    from workloads.training.precision import multiplying

    torch.set_num_threads(config.threads)
    assert config.data is not None  # resolve() has seen to it
    with multiplying("fp32"):
        found = {
            entry.name: entry.measured(*(_memoized(config, context, role) for role in entry.roles_of(context.inputs)))
            for entry in config.measures
        }
    arrays = {name: item for measured in found.values() for name, item in measured.arrays.items()}
    metrics = {key: value for name, measured in found.items() for key, value in measured.metrics(name).items()}
    return Result(metrics=metrics, arrays=arrays)


def _memoized(config: MeasureConfig, context: Context, role: str) -> Snapshot:
    key = ("snapshot", context.inputs[role].key, config.data, context.seed, config.threads)
    return context.memo(key, lambda: _snapshot(config, context, role))


def _snapshot(config: MeasureConfig, context: Context, role: str) -> Snapshot:
    from workloads.measures.snapshot import Snapshot

    below = context.inputs[role]
    assert config.data is not None
    data = config.data.load(context.data_dir, context.seed)
    model = below.config.model.build(data.shape, data.classes)  # pyright: ignore[reportAttributeAccessIssue]
    model.load_state_dict(below.weights())
    model.to(context.device).eval().requires_grad_(False)
    return Snapshot(model, below.start(), data, context.device, context.seed)
