"""What happens to a training between its epochs. Each event is a config with its own rule and its own effect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from workloads.contract import Real
from workloads.datasets import Dataset
from workloads.events.base import Epochs, TimedEvent, Trainee, TrainingEvent
from workloads.events.rank import RankMax, RankMin
from workloads.measures import MeasureEntry


class Perturb(TrainingEvent):
    r"""Adds $N(0, \sigma^2)$ to every parameter every so many epochs.

    Source: Banburski et al., Theory III: Dynamics and Generalization in Deep Networks, figures 6 to 8.
    """

    name: Literal["perturb"] = "perturb"
    every: int = Field(gt=0, description="Epochs between perturbations.")
    first: int = Field(default=1, gt=0, description="Not before so many epochs are finished.")
    last: int | None = Field(default=None, gt=0, description="Nor after so many.")
    std: Real | None = Field(default=None, gt=0, description="sigma, the same for all parameters.")
    relative: Real | None = Field(
        default=None,
        gt=0,
        description="sigma over the standard deviation (by n) of each parameter then.",
    )

    @model_validator(mode="after")
    def _one_of(self) -> Perturb:
        if (self.std is None) == (self.relative is None):
            raise ValueError("give std or relative, one of the two")
        due = -(-self.first // self.every) * self.every
        if self.last is not None and self.last < due:
            raise ValueError(
                f"it is first due after epoch {due}, and last={self.last} is before that: it never happens"
            )
        return self

    def due(self, epoch: int) -> bool:
        """Every so many epochs, from the first to the last."""
        return epoch % self.every == 0 and self.first <= epoch <= (self.last or math.inf)

    def apply(self, trainee: Trainee) -> Mapping[str, float]:
        """Each parameter's noise is from its own stream ("perturb:NAME", epoch), a second event's from another."""
        import torch

        for name, tensor in trainee.parameters.items():
            stream = trainee.generator(f"perturb:{name}")
            noise = torch.randn(tensor.shape, generator=stream, dtype=tensor.dtype).to(tensor.device)
            std = self.std or (self.relative or 0.0) * tensor.std(correction=0).item()
            tensor.add_(noise * std)
        return {}


class Project(TimedEvent):
    """Moves all parameters, as one vector, to the nearest point of a sphere or a ball around zero."""

    name: Literal["project"] = "project"
    norm: Real = Field(gt=0, description="The radius.")
    onto: Literal["sphere", "ball"] = Field(default="sphere", description="ball: shorter vectors stay as they are.")

    def apply(self, trainee: Trainee) -> Mapping[str, float]:
        """One factor for all parameters; a vector of zeros has no nearest point and stays."""
        tensors = [*trainee.parameters.values()]
        norm = math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))
        if norm > self.norm or (self.onto == "sphere" and norm > 0):
            for tensor in tensors:
                tensor.mul_(self.norm / norm)
        return {}


class SwitchData(TrainingEvent):
    """Trains on other data once so many epochs are finished; the optimizer goes on as it was."""

    alone: ClassVar[bool] = True

    name: Literal["switch_data"] = "switch_data"
    epoch: int = Field(gt=0, description="After so many epochs.")
    data: Dataset

    def due(self, epoch: int) -> bool:
        """Once."""
        return epoch == self.epoch

    def apply(self, trainee: Trainee) -> Mapping[str, float]:
        """From the next epoch on."""
        trainee.switch(self.data)
        return {}

    def resume(self, trainee: Trainee) -> None:
        """A training taken up after the switch has the new data."""
        if trainee.epoch >= self.epoch:
            trainee.switch(self.data)


class Record(TrainingEvent):
    """Takes measures of the network every so many epochs: curves of whatever can be measured at the end."""

    name: Literal["record"] = "record"
    every: int = Field(default=1, gt=0, description="Epochs between measurements.")
    at: Epochs | None = Field(default=None, description="The finished epochs to measure after, in place of every.")
    measures: tuple[MeasureEntry, ...] = Field(min_length=1, description="Names, or {name: ..., option: ...}.")

    @field_validator("measures")
    @classmethod
    def _distinct(cls, entries: tuple[MeasureEntry, ...]) -> tuple[MeasureEntry, ...]:
        if comparing := [entry.name for entry in entries if entry.roles != ("input",)]:
            raise ValueError(f"{comparing[0]} compares two networks; in a training there is one")
        names = [entry.name for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice; one column of the history has one meaning")
        return entries

    @model_validator(mode="after")
    def _either(self) -> Record:
        if self.at is not None and self.every != 1:
            raise ValueError("give every or at, one of the two")
        return self

    def due(self, epoch: int) -> bool:
        """Every so many epochs, or after those that are named."""
        return epoch % self.every == 0 if self.at is None else epoch in self.at

    def apply(self, trainee: Trainee) -> Mapping[str, float]:
        """Each measure's numbers by name, on the data that is trained on now; in fp32, as measures always are."""
        from workloads.training.precision import multiplying

        snapshot = trainee.snapshot()
        with multiplying("fp32"):
            found = [entry.measured(snapshot).metrics(entry.name) for entry in self.measures]
        return {name: value for metrics in found for name, value in metrics.items()}


Event = Annotated[Perturb | Project | RankMin | RankMax | SwitchData | Record, Field(discriminator="name")]


def perturb_together(events: Sequence[TrainingEvent], epochs: int) -> bool:
    """Whether two perturbations fall on one of the epochs 1 to `epochs`."""
    perturbations = [event for event in events if isinstance(event, Perturb)]
    if len(perturbations) < 2:
        return False
    return any(sum(event.due(epoch) for event in perturbations) > 1 for epoch in range(1, epochs + 1))
