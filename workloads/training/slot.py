"""One training of an array: where it begins, what happens to it after each epoch, and how it ends."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workloads.contract import Checkpoint, Context, Job, Result
from workloads.datasets.augmentation import draw_crop_flip
from workloads.datasets.images import Data, ImageData
from workloads.events import SwitchData
from workloads.measures.snapshot import Snapshot
from workloads.schedules import Progress
from workloads.starts import FromStage
from workloads.train import TrainConfig
from workloads.training.array import Array
from workloads.training.evaluation import Scores


@dataclass
class Slot:
    """A training under way.

    Attributes:
        start: Parameters and buffers before the first step.
        epoch: How many are finished.
        together: How many networks trained together with it at most, itself among them.
        scores: What it does now on what it trains on, where it was looked at.
    """

    job: Job
    data: Data
    start: Mapping[str, Tensor]
    epoch: int = 0
    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    together: int = 1
    scores: Scores | None = None
    diverged: bool = False
    stopped: bool = False

    @property
    def config(self) -> TrainConfig:
        return self.job.config

    @property
    def context(self) -> Context:
        return self.job.context

    @property
    def finished(self) -> bool:
        return self.stopped or self.diverged or self.epoch >= self.config.stop.epochs

    @property
    def rate(self) -> float:
        """The learning rate of the epoch that comes next."""
        return self.config.optimizer.lr * self.config.schedule.factor(self.epoch, self.progress)

    def order(self) -> Tensor:
        """(N,): the order of the images in the epoch that comes next."""
        return torch.randperm(len(self.data.train_y), generator=self.context.generator("order", self.epoch))

    def draws(self, order: Tensor) -> Tensor:
        """(N, 3): how each image is augmented in the epoch that comes next, in that order."""
        return draw_crop_flip(len(order), self.context.generator("augment", self.epoch))[order]

    @property
    def looks(self) -> bool:
        """Whether something depends on the train accuracy after the epoch just finished."""
        stop = self.config.stop
        rules = stop.train_accuracy is not None or stop.loss is not None or self.config.schedule.needs_accuracy
        return rules and self.epoch % stop.every == 0

    def look(self, scores: Scores) -> dict[str, float]:
        """Take in what the network does now; for the history."""
        stop, self.scores = self.config.stop, scores
        accurate = stop.train_accuracy is not None and scores.accuracy >= stop.train_accuracy
        self.stopped = accurate or (stop.loss is not None and scores.loss < stop.loss)
        self.progress = self.config.schedule.advance(self.progress, self.epoch, scores.accuracy)
        return {"eval_loss": scores.loss, "train_accuracy": scores.accuracy}

    def result(self, array: Array, index: int, end: Scores) -> Result:
        """What the training made."""
        diverged = self.diverged or not math.isfinite(end.loss)
        return Result(
            metrics={"epochs": self.epoch, "train_loss": end.loss, "train_accuracy": end.accuracy},
            outcome="diverged" if diverged else "done",
            weights=array.network.state(index),
            start="start" if isinstance(self.config.start, FromStage) else self.start,
        )

    def checkpoint(self, array: Array, index: int) -> Checkpoint:
        """All that the next epoch depends on."""
        tensors = {f"network.{name}": item for name, item in array.network.state(index).items()}
        tensors |= {f"optimizer.{name}": item[index].cpu().clone() for name, item in array.state.items()}
        progress = {f"progress.{name}": float(value) for name, value in vars(self.progress).items()}
        numbers = {"epoch": self.epoch, "steps": int(array.network.steps[index]), **progress}
        return Checkpoint(tensors, numbers)

    def enter(self, array: Array, index: int) -> None:
        """Take a place in an array: at the beginning, or where the last checkpoint left off.

        Raises:
            ValueError: a parameter group is of no parameter.
        """
        _refuse_empty_groups(self.config, [parameter.name for parameter in array.network.layout])
        array.fill(index, self.config, self.context.seed, self.data, self.start)
        kept = self.context.restore()
        if kept is None:
            return
        network = {name[8:]: item for name, item in kept.tensors.items() if name.startswith("network.")}
        array.network.fill(index, self.context.seed, network, int(kept.numbers["steps"]))
        for name, item in array.state.items():
            item[index].copy_(kept.tensors[f"optimizer.{name}"])
        self.epoch = int(kept.numbers["epoch"])
        fields = vars(self.progress)
        self.progress = Progress(**{name: type(fields[name])(kept.numbers[f"progress.{name}"]) for name in fields})
        trainee = Trainee(self, array, index)
        for event in self.config.events:
            event.resume(trainee)


def begin(job: Job) -> Slot:
    """The training of a job with its data and its initial weights, which are drawn on the CPU whatever the device.

    Raises:
        ValueError: it cannot be trained to its end on its data.
    """
    config: TrainConfig = job.config
    assert config.model is not None  # resolve() has seen to it
    data = config.data.load(job.context.data_dir, job.context.seed)
    _refuse_a_lone_image(config, data)
    for event in config.events:
        if isinstance(event, SwitchData):
            later = event.data.load(job.context.data_dir, job.context.seed)
            if later.shape != data.shape or later.classes > data.classes:
                raise ValueError(f"switch_data: {_kind(later)}, where the network is made for {_kind(data)}")
            _refuse_a_lone_image(config, later)
    model = config.model
    return Slot(job, data, config.start.begin(lambda: model.build(data.shape, data.classes), data, job.context))


def _refuse_empty_groups(config: TrainConfig, names: list[str]) -> None:
    parts = sorted({part for name in names for part in name.split(".") if not part.isdigit()})
    for group in config.optimizer.groups:
        if not any(group.match in name for name in names):
            near = difflib.get_close_matches(group.match, parts, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"optimizer: no parameter's name contains {group.match!r}; names have {', '.join(parts)}{meant}"
            )


def _kind(data: Data) -> str:
    return f"images of {'x'.join(map(str, data.shape))} in {data.classes} classes"


def _refuse_a_lone_image(config: TrainConfig, data: Data) -> None:
    """Batch norm of vectors has no variance in a batch of one image: say so before an epoch is spent."""
    count = len(data.train_y)
    batch = count if config.batch_size == "full" else min(count, config.batch_size)
    if config.stop.epochs == 0 or count % batch != 1 % batch:
        return
    assert config.model is not None
    model = config.model.build(data.shape, data.classes).to("meta").train()
    try:
        model(torch.empty(1, *data.shape, device="meta"))
    except ValueError as error:
        raise ValueError(
            f"batch norm cannot train on the one image that {count} in batches of {batch} leave for the last batch;"
            " choose another batch_size"
        ) from error


@dataclass(frozen=True)
class Trainee:
    """A training as its events see it, after an epoch. Implements events.Trainee."""

    slot: Slot
    array: Array
    index: int
    drawn: Counter[str] = field(default_factory=Counter)

    @property
    def epoch(self) -> int:
        return self.slot.epoch

    @property
    def context(self) -> Context:
        return self.slot.context

    @property
    def data(self) -> Data:
        return self.slot.data

    @property
    def start(self) -> Mapping[str, Tensor]:
        return self.slot.start

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        return self.array.network.parameters(self.index)

    def generator(self, purpose: str) -> torch.Generator:
        """The stream (seed, purpose, epoch); asked for again after the same epoch, one that is independent of it."""
        before = self.drawn[purpose]
        self.drawn[purpose] += 1
        return self.context.generator(f"{purpose}#{before}" if before else purpose, self.epoch)

    def snapshot(self) -> Snapshot:
        """The network now, as measures see it."""
        model = self.array.network.build()
        model.load_state_dict(self.array.network.state(self.index))
        model.to(self.array.device).eval().requires_grad_(False)
        return Snapshot(model, dict(self.start), self.data, self.array.device, self.context.seed)

    def switch(self, data: ImageData) -> None:
        """Train on other data from the next epoch on."""
        self.slot.data = data.load(self.context.data_dir, self.context.seed)
        self.array.switch(self.index, self.slot.data, data.augment == "crop_flip")


def happen(slot: Slot, array: Array, index: int) -> dict[str, float]:
    """The events that are due after the epoch just finished; what they say, for the history."""
    trainee = Trainee(slot, array, index)
    said: dict[str, float] = {}
    for event in slot.config.events:
        if event.due(slot.epoch):
            said.update(event.apply(trainee))
    return said
