"""How the learning rate changes from epoch to epoch: what the optimizer's own rate is multiplied by."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from workloads.contract import Config, Real


@dataclass(frozen=True)
class Progress:
    """What a schedule remembers of the train accuracies seen so far.

    Attributes:
        best_epoch: The number of finished epochs when the best was seen.
        drops: How often the rate has been lowered, the last time after `last_drop` epochs.
    """

    best: float = -1.0
    best_epoch: int = 0
    drops: int = 0
    last_drop: int = 0


class RateSchedule(Config):
    """The base of all schedules."""

    needs_accuracy: ClassVar[bool] = False

    @abstractmethod
    def factor(self, epoch: int, progress: Progress) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0)."""

    def advance(self, progress: Progress, epoch: int, accuracy: float) -> Progress:
        """The progress after a look at the train accuracy, when `epoch` epochs are finished."""
        return progress


class Constant(RateSchedule):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, epoch: int, progress: Progress) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0)."""
        return 1.0


class Multistep(RateSchedule):
    """The learning rate times gamma from each milestone on, in epochs.

    `cumulative: false` is what the published code of "Truth or Backpropaganda" does in its rank study: each milestone
    sets the rate to gamma times the first one, so the second and later ones change nothing.
    """

    name: Literal["multistep"] = "multistep"
    milestones: tuple[int, ...]
    gamma: float = Field(default=0.1, gt=0)
    cumulative: bool = Field(default=True, description="Each milestone multiplies the rate again.")

    @field_validator("milestones")
    @classmethod
    def _ascending(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise((0, *milestones))):
            raise ValueError(f"milestones ascend from at least 1; these are {list(milestones)}")
        return milestones

    def factor(self, epoch: int, progress: Progress) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0).

        Example:
            >>> [Multistep(milestones=(2, 3), gamma=0.5).factor(epoch, Progress()) for epoch in range(4)]
            [1.0, 1.0, 0.5, 0.25]
        """
        passed = sum(epoch >= milestone for milestone in self.milestones)
        return float(self.gamma ** (passed if self.cumulative else min(1, passed)))


class Cosine(RateSchedule):
    r"""$f + (1 - f)(1 + \cos(\pi t / T)) / 2$ in epoch $t < T$, then $f$."""

    name: Literal["cosine"] = "cosine"
    period: int = Field(gt=0, description="T, in epochs.")
    floor: Real = Field(default=0.0, ge=0, le=1, description="f, what is left at the end.")

    def factor(self, epoch: int, progress: Progress) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0)."""
        done = min(1.0, epoch / self.period)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2


class Power(RateSchedule):
    r"""$(1 + t)^{-a}$ in epoch $t$: the decreasing rate that stochastic gradient descent needs to converge."""

    name: Literal["power"] = "power"
    exponent: Real = Field(gt=0, description="a.")

    def factor(self, epoch: int, progress: Progress) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0)."""
        return (1.0 + epoch) ** -self.exponent


class Plateau(RateSchedule):
    """The rate times gamma whenever the train accuracy has not risen for `patience` epochs.

    It is looked at every `stop.every` epochs, in eval mode. Source: the toy of Liu et al., arXiv:1906.02613, figure 1,
    whose published code lowers the rate by 0.3 after 10,000 such epochs.
    """

    needs_accuracy: ClassVar[bool] = True

    name: Literal["plateau"] = "plateau"
    patience: int = Field(gt=0, description="Epochs without a better accuracy.")
    gamma: float = Field(default=0.3, gt=0, lt=1)

    def factor(self, epoch: int, progress: Progress) -> float:
        """What the learning rate is multiplied by in epoch `epoch` (from 0)."""
        return float(self.gamma**progress.drops)

    def advance(self, progress: Progress, epoch: int, accuracy: float) -> Progress:
        """The progress after a look at the train accuracy, when `epoch` epochs are finished."""
        if accuracy > progress.best:
            return Progress(accuracy, epoch, progress.drops, progress.last_drop)
        if epoch - max(progress.best_epoch, progress.last_drop) < self.patience:
            return progress
        return Progress(progress.best, progress.best_epoch, progress.drops + 1, epoch)


Schedule = Annotated[Constant | Multistep | Cosine | Power | Plateau, Field(discriminator="name")]
