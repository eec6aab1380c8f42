"""S trainings as one: their network, images, optimizer and numbers, filled and emptied slot by slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workloads.arrays.kinds import numbers
from workloads.arrays.network import Network
from workloads.datasets.images import Data
from workloads.training.evaluation import Scores
from workloads.training.pool import Pool
from workloads.training.precision import autocast, storage

if TYPE_CHECKING:
    from workloads.train import TrainConfig

EVALUATED = 1000  # images of all networks together in one evaluation step
STREAMS = ("noise", "attack")


class Array:
    """S networks that differ in nothing but arrayable fields; `config` is that of any of them.

    Attributes:
        state: What the optimizer keeps, (S, P) by name.
        numbers: The optimizer's and the regularizer's own numbers, (S, 1) by field.
        rates: (S, 1), each network's learning rate in this epoch.
        augments: Whether steps need draws of how to crop and flip.
    """

    def __init__(self, config: TrainConfig, data: Data, size: int, own_images: bool, device: str) -> None:
        assert config.model is not None  # resolve() has seen to it
        model, shape, classes = config.model, data.shape, data.classes
        dtype = storage(config.precision)
        self.config, self.size, self.device = config, size, device
        self.network = Network(lambda: model.build(shape, classes), size, device, dtype)
        for purpose in STREAMS:
            self.network.open_stream(purpose)
        self.network.train()
        self.state = config.optimizer.state(self.network.weights)
        self.pool = Pool(data, size, own_images, device, dtype)
        self.augments = config.data.augment == "crop_flip"
        self.numbers = {name: torch.zeros(size, 1, dtype=dtype, device=device) for name in arrayable(config)}
        self.rates = torch.zeros(size, 1, dtype=dtype, device=device)

    def fill(self, slot: int, config: TrainConfig, seed: int, data: Data, start: Mapping[str, Tensor]) -> None:
        """Put a training that has made no step into a slot."""
        self.network.fill(slot, seed, start)
        self.pool.fill(slot, data)
        for item in self.state.values():
            item[slot].zero_()
        for name, value in arrayable(config).items():
            self.numbers[name][slot] = value

    def take(self, slots: Sequence[int]) -> Array:
        """The array of some of the networks; shares nothing that a step changes."""
        index = torch.tensor(slots, device=self.device)
        taken = object.__new__(Array)
        taken.__dict__.update(self.__dict__)
        taken.size, taken.network, taken.pool = len(slots), self.network.take(slots), self.pool.take(index)
        taken.state = {name: item[index] for name, item in self.state.items()}
        taken.numbers = {name: item[index] for name, item in self.numbers.items()}
        taken.rates = self.rates[index]
        return taken

    def switch(self, slot: int, data: Data, augments: bool) -> None:
        """Give the only network of the array other images; steps that were prepared for the old ones are void.

        Raises:
            ValueError: there are others, whose epochs have the old length.
        """
        if self.size > 1:
            raise ValueError("a training that changes its data trains by itself")
        self.pool = Pool(data, 1, False, self.device, self.network.dtype)
        self.pool.fill(slot, data)
        self.augments = augments

    @torch.no_grad()
    def evaluate(self) -> list[Scores]:
        """Each network in eval mode on all that it trains on, corrupted but not augmented; float64 sums."""
        count, loss = self.pool.count, self.config.loss
        sums = torch.zeros(2, self.size, dtype=torch.float64, device=self.device)
        block = looked_at_once(self.size)
        with self.network.evaluating(), autocast(self.config.precision, self.device):
            for begin in range(0, count, block):
                images = self.pool.normalized(self.pool.block(begin, begin + block))
                outputs = self.network.logits(images).double()
                labels = self.pool.labels[:, begin : begin + block]
                sums[0] += loss.per_image(outputs, labels).sum(1)
                sums[1] += (outputs.argmax(2) == labels).sum(1)
        return [Scores(total, right) for total, right in zip(*(sums / count).tolist(), strict=True)]


def looked_at_once(size: int) -> int:
    """Images of each network in one evaluation step of an array."""
    return max(100, EVALUATED // size)


def arrayable(config: TrainConfig) -> dict[str, float]:
    """The numbers in which the networks of an array may differ, by field."""
    return {**numbers(config.optimizer), **numbers(config.regularizer)}
