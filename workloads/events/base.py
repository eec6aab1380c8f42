"""What every event is, and what it sees of a training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

from pydantic import AfterValidator, Field, model_validator

from workloads.contract import Config, Context

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from workloads.datasets.images import Data, ImageData
    from workloads.measures.snapshot import Snapshot


class Trainee(Protocol):
    """A training between two epochs."""

    @property
    def epoch(self) -> int:
        """How many are finished."""
        ...

    @property
    def context(self) -> Context: ...
    @property
    def data(self) -> Data: ...
    @property
    def start(self) -> Mapping[str, Tensor]: ...
    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """By name, in their usual shapes; writing into them changes the network."""
        ...

    def generator(self, purpose: str) -> torch.Generator:
        """The stream (seed, purpose, epoch); asked for again after the same epoch, one that is independent of it."""
        ...

    def snapshot(self) -> Snapshot:
        """The network now, as measures see it."""
        ...

    def switch(self, data: ImageData) -> None:
        """Train on other data from the next epoch on."""
        ...


class TrainingEvent(Config):
    """The base of all events. `alone`: trainings with it are no part of an array."""

    alone: ClassVar[bool] = False

    @abstractmethod
    def due(self, epoch: int) -> bool:
        """Whether it happens when `epoch` epochs are finished."""

    @abstractmethod
    def apply(self, trainee: Trainee) -> Mapping[str, float]:
        """Let it happen; returns what it adds to the epoch's row of the history."""

    def resume(self, trainee: Trainee) -> None:
        """Do again, for a training taken up at `trainee.epoch`, what its weights do not show."""


def _ascending(epochs: tuple[int, ...]) -> tuple[int, ...]:
    if not epochs or any(later <= earlier for earlier, later in pairwise((0, *epochs))):
        raise ValueError(f"at names epochs that ascend from at least 1; these are {list(epochs)}")
    return epochs


Epochs = Annotated[tuple[int, ...], AfterValidator(_ascending)]
"""Epochs, counted from 1, in their order."""


class TimedEvent(TrainingEvent):
    """The base of events that happen every so many epochs, or after those that are named."""

    every: int | None = Field(default=None, gt=0, description="Epochs between them.")
    at: Epochs | None = Field(default=None, description="The finished epochs after which it happens.")

    @model_validator(mode="after")
    def _one_of(self) -> TimedEvent:
        if (self.every is None) == (self.at is None):
            raise ValueError("give every or at, one of the two")
        return self

    def due(self, epoch: int) -> bool:
        """Every so many epochs, or after those that are named."""
        return epoch in self.at if self.at is not None else epoch % (self.every or 1) == 0
