"""Train one network, or an array of them, on one data set: initialize, train, stop.

The start decides where it begins: an initialization, or the weights and buffers of another stage's node. Everything
random comes from the node's seed, so two trainings with one seed and one recipe share initial weights and data order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from workloads.adversaries import Adversary
from workloads.arrays.kinds import kind
from workloads.contract import Config, Context, Ended, Hardware, Job, Result
from workloads.datasets import Dataset
from workloads.events import Event, SwitchData, perturb_together
from workloads.losses import CrossEntropy, Loss
from workloads.models import Model
from workloads.optimizers import Optimizer
from workloads.regularizers import Regularizer
from workloads.schedules import Constant, Schedule
from workloads.starts import FromStage, Initialization, Start
from workloads.work import Work

Precision = Literal["fp32", "tf32", "bf16", "fp64"]
Positive = Annotated[int, Field(gt=0)]


class Stop(Config):
    """When a training ends: at the first of these that comes true, looked at every `every` epochs, and at `epochs`."""

    epochs: int = Field(ge=0, description="At most so many; 0 trains nothing.")
    train_accuracy: float | None = Field(
        default=None, gt=0, le=1, description="Fraction right, eval mode, on all that it trains on."
    )
    loss: float | None = Field(
        default=None, gt=0, description="Mean loss below this, eval mode, on all that it trains on, without l2."
    )
    every: int = Field(default=1, gt=0, description="Epochs between looks.")


class TrainConfig(Config):
    """One training. Metrics: epochs; train_loss and train_accuracy at its end, eval mode, on all that it trained on."""

    ARRAYABLE: ClassVar[frozenset[str]] = frozenset({"start", "schedule", "stop"})

    data: Dataset
    model: Model | None = Field(default=None, description="May be left out: the model of the stage it starts from.")
    start: Start = Initialization()
    loss: Loss = CrossEntropy()
    optimizer: Optimizer
    regularizer: Regularizer | None = None
    schedule: Schedule = Constant()
    adversary: Adversary | None = Field(default=None, description="Each step trains on its adversarial images.")
    batch_size: Positive | Literal["full"] = Field(
        default=128, description="Images a step, the last, smaller batch used too; full: all of them, gradient descent."
    )
    stop: Stop
    events: tuple[Event, ...] = Field(default=(), description="What happens between epochs, in this order.")
    precision: Precision = Field(
        default="fp32", description="Of convolutions and products; tf32 and bf16 keep fp32 weights, fp32 is strict."
    )
    threads: int = Field(default=1, gt=0, description="CPU threads; they change the rounding, so they are in the key.")

    @property
    def part_version(self) -> int:
        """In the key where it is not 1: two perturbations after one epoch drew the same noise once."""
        return 2 if perturb_together(self.events, self.stop.epochs) else 1

    @model_validator(mode="after")
    def _has_a_model(self) -> TrainConfig:
        if self.model is None and not self.start.GIVES_MODEL:
            raise ValueError("model: missing; only a stage that starts from another may leave it out")
        return self

    @model_validator(mode="after")
    def _attacks_pixels(self) -> TrainConfig:
        if self.adversary is not None and not self.data.PIXELS:
            raise ValueError(f"adversary: its images stay within 0 and 1; {self.data.name} has no pixels")
        return self

    @model_validator(mode="after")
    def _switches_in_order(self) -> TrainConfig:
        epochs = [event.epoch for event in self.events if isinstance(event, SwitchData)]
        if any(later <= earlier for earlier, later in pairwise(epochs)):
            raise ValueError(f"events: switch_data after epochs {epochs}; list them as they happen")
        return self


def resolve(config: TrainConfig, inputs: Mapping[str, Config]) -> TrainConfig:
    """The config with the model of the stage it starts from, where it has none of its own.

    Raises:
        ValueError: that stage has no model, or one that the start cannot take; it would start from several networks.
    """
    if "start.0" in inputs:
        raise ValueError("over: a training starts from one network; it cannot gather several")
    if "start" not in inputs:
        return config
    theirs = getattr(inputs["start"], "model", None)
    if theirs is None:
        raise ValueError("start: the stage it starts from trains no network")
    config.start.accept(config.model, theirs)
    return config.model_copy(update={"model": config.model or theirs})


def array_key(config: TrainConfig) -> str | None:
    """Trainings that differ in seed, start, rates and stop train together; those that change their data do not."""
    return None if any(event.alone for event in config.events) else kind(config)


def work(config: TrainConfig, inputs: Mapping[str, Config]) -> Work | None:
    """Forward and backward (twice the forward) of all epochs, each attack's too, and the looks at the stop."""
    images = config.data.images()
    if images is None or config.model is None:
        return None
    size = config.model.size(config.data.SHAPE, config.data.CLASSES)
    stop = config.stop
    at_most = stop.train_accuracy is not None or stop.loss is not None
    passes = 3.0 * stop.epochs * (1 if config.adversary is None else 1 + config.adversary.steps)
    passes += 1 + at_most * stop.epochs / stop.every
    kept = 1 if isinstance(config.start, FromStage) else 2  # its weights, and its start's where it is its own
    return Work(2.0 * size.multiply_adds * images[0] * passes, kept * size.numbers, at_most)


def run(config: TrainConfig, context: Context) -> Result:
    """Train, and keep the weights before and after."""
    [ended] = run_array([Job(config, context)], Hardware(context.device, slots=1))
    if isinstance(ended.result, Exception):
        raise ended.result
    return ended.result


def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
    """Train networks of one `array_key` together; yields each as it ends."""
    from workloads.training.slots import run_jobs

    return run_jobs(jobs, hardware)
