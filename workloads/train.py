"""Train one network on one data set: initialize, train, stop.

The start decides where it begins: an initialization, or the weights and buffers of another stage's node. Everything
random comes from the node's seed, so two trainings with one seed and one recipe share initial weights and data order.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from workloads.contract import Config, Context, Result
from workloads.datasets import Dataset
from workloads.models import Model
from workloads.optimizers import Constant, Optimizer, Schedule
from workloads.starts import FromStage, Initialization, Start


class Stop(Config):
    """When a training ends: at the first of these that comes true, looked at every `every` epochs, and at `epochs`."""

    epochs: int = Field(ge=0, description="At most so many; 0 trains nothing.")
    train_accuracy: float | None = Field(
        default=None, gt=0, le=1, description="Fraction right, eval mode, on all that it trains on."
    )
    loss: float | None = Field(
        default=None, gt=0, description="Mean cross-entropy below this, eval mode, on all that it trains on."
    )
    every: int = Field(default=1, gt=0, description="Epochs between looks.")


class TrainConfig(Config):
    """One training. Metrics: epochs; train_loss and train_accuracy at its end, eval mode, on all that it trained on."""

    data: Dataset
    model: Model | None = Field(default=None, description="May be left out: the model of the stage it starts from.")
    start: Start = Initialization()
    optimizer: Optimizer
    schedule: Schedule = Constant()
    batch_size: int = Field(default=128, gt=0, description="Images a step; the last, smaller batch is used too.")
    stop: Stop
    threads: int = Field(default=1, gt=0, description="CPU threads; they change the rounding, so they are in the key.")

    @model_validator(mode="after")
    def _has_a_model(self) -> TrainConfig:
        if self.model is None and not isinstance(self.start, FromStage):
            raise ValueError("model: missing; only a stage that starts from another may leave it out")
        return self


def resolve(config: TrainConfig, inputs: Mapping[str, Config]) -> TrainConfig:
    """The config with the model of the stage it starts from.

    Raises:
        ValueError: that stage has no model, or another one.
    """
    if "start" not in inputs:
        return config
    theirs = getattr(inputs["start"], "model", None)
    if theirs is None:
        raise ValueError("start: the stage it starts from trains no network")
    if config.model not in (None, theirs):
        raise ValueError(f"model: {config.model!r} is not the model of the stage it starts from, {theirs!r}")
    return config.model_copy(update={"model": theirs})


def run(config: TrainConfig, context: Context) -> Result:
    """Train, and keep the weights before and after."""
    from workloads.training import loop

    return loop.run(config, context)
