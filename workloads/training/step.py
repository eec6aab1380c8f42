"""One step of S trainings: images -> loss -> gradient -> move. No wait for the device, no draw from the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.optimizers.descent import Move
from workloads.training.array import Array
from workloads.training.precision import autocast

BLOCK = 5000  # images of a full batch that are under way at once, where batch norm does not tie them together


@dataclass
class Stepper:
    """The steps of an array.

    Args:
        used: The array's numbers that are not zero in all networks.
    """

    array: Array
    used: frozenset[str]

    def __post_init__(self) -> None:
        array = self.array
        names = [parameter.name for parameter in array.network.layout]
        sizes = torch.tensor([parameter.end - parameter.begin for parameter in array.network.layout])
        self._rate_scale, self._decay_scale = (
            _per_parameter(array, [_multiple(array, name, field) for name in names], sizes)
            for field in ("lr", "weight_decay")
        )

    def __call__(self, rows: Tensor, draws: Tensor | None) -> Tensor:
        """One step on each network's images `rows` (S, B), augmented by `draws` (S, B, 3); the mean losses (S,)."""
        array = self.array
        losses, gradient = self._gradient(rows, draws)
        weights = array.network.weights
        move = Move(
            array.rates if self._rate_scale is None else array.rates * self._rate_scale,
            self._decay(weights),
            array.numbers,
            self.used,
            lambda: array.network.keys("noise"),
        )
        array.config.optimizer.step(weights, gradient, array.state, move)
        array.network.steps += 1
        return losses

    def _gradient(self, rows: Tensor, draws: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Mean losses (S,) and their gradients, in pieces. A full batch goes through in blocks: the sum is the same."""
        array, count = self.array, rows.shape[1]
        whole = array.config.batch_size != "full" or array.network.normalizes
        block = count if whole else min(count, BLOCK)
        losses, gradient = self._block_gradient(rows, draws, 0, block)
        for begin in range(block, count, block):
            more, further = self._block_gradient(rows, draws, begin, begin + block)
            losses = losses + more
            gradient = [piece + its for piece, its in zip(gradient, further, strict=True)]
        return losses, gradient

    def _block_gradient(self, rows: Tensor, draws: Tensor | None, begin: int, end: int) -> tuple[Tensor, list[Tensor]]:
        """What the images from `begin` to `end` add to the mean losses over all rows, and to their gradient."""
        array, count = self.array, rows.shape[1]
        rows, draws = rows[:, begin:end], _part(draws, begin, end)
        array.network.first = begin
        images, labels = array.pool.batch(rows, draws), array.pool.labels_of(rows)
        x = array.pool.normalized(images) if array.config.adversary is None else self._attacked(images, labels)
        losses = self._losses(x, labels).sum(1) / count
        return losses.detach().double(), array.network.gradient(losses.sum())

    def compiled(self) -> Stepper:
        """The same steps, with the forward and backward passes compiled."""
        torch.compiler.reset()  # of what was compiled for other arrays: only so many versions of a function are kept
        other = Stepper(self.array, self.used)
        self.array.network.draw_opaquely()
        other._losses = torch.compile(other._losses)  # pyright: ignore[reportAttributeAccessIssue]
        return other

    def _losses(self, x: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """(S, B) of normalized images (B, S*C, H, W)."""
        array = self.array
        with autocast(array.config.precision, array.device):
            outputs = array.network.logits(x, weights)
        return array.config.loss.per_image(outputs.to(array.network.dtype), labels)

    def _attacked(self, images: Tensor, labels: Tensor) -> Tensor:
        """The adversary's images, normalized. The weights are held fixed: no gradient is computed for them."""
        array, adversary = self.array, self.array.config.adversary
        assert adversary is not None
        pixels, weights = array.pool.pixels(images), array.network.weights

        def loss(inside: Tensor) -> Tensor:
            return self._losses(array.pool.normalized_pixels(inside), labels, weights).mean(1)

        start = None
        if adversary.random_start:
            shape = (pixels.shape[0], pixels.shape[1] // array.size, *pixels.shape[2:])
            drawn = array.network.uniform("attack", shape)
            start = (2 * drawn - 1).mul_(adversary.epsilon).transpose(0, 1).flatten(1, 2)
        if adversary.mode == "eval":
            with array.network.evaluating():
                found = adversary.attack(pixels, loss, start)
        else:
            found = adversary.attack(pixels, loss, start)
        return array.pool.normalized_pixels(found)

    def _decay(self, weights: Tensor) -> Tensor | None:
        """What the weights are multiplied by and added to the gradient: weight decay, and the regularizer's."""
        decay = self.array.numbers["weight_decay"] if "weight_decay" in self.used else None
        if decay is not None and self._decay_scale is not None:
            decay = decay * self._decay_scale
        regularizer = self.array.config.regularizer
        if regularizer is None:
            return decay
        further = regularizer.decay(weights, self.array.numbers)
        return further if decay is None else decay + further


def _part(draws: Tensor | None, begin: int, end: int) -> Tensor | None:
    return None if draws is None else draws[:, begin:end]


def _multiple(array: Array, name: str, field: str) -> float:
    matching = [getattr(group, field) for group in array.config.optimizer.groups if group.match in name]
    return matching[-1] if matching else 1.0


def _per_parameter(array: Array, multiples: list[float], sizes: Tensor) -> Tensor | None:
    """(P,): each weight's multiple; None where all are 1."""
    if all(multiple == 1 for multiple in multiples):
        return None
    spread = torch.tensor(multiples, dtype=array.network.dtype).repeat_interleave(sizes)
    return spread.to(array.device)


Step = Callable[[Tensor, "Tensor | None"], Tensor]


def batch_size(array: Array) -> int:
    """Images a step, the last one of an epoch aside."""
    asked, count = array.config.batch_size, array.pool.count
    return count if asked == "full" else min(asked, count)


def steps_per_epoch(array: Array) -> int:
    """With the last one, which may have fewer images."""
    return -(-array.pool.count // batch_size(array))


def train_epoch(array: Array, step: Step, orders: Tensor, draws: Tensor | None) -> list[float]:
    """One pass over the images, each network in its own order (S, N); returns their mean losses.

    Args:
        draws: (S, N, 3), how each image is augmented, in the same order; None for not at all.
    """
    count, batch = array.pool.count, batch_size(array)
    total = torch.zeros(array.size, dtype=torch.float64, device=array.device)
    begins = range(0, count, batch)
    for begin in begins:
        rows = orders[:, begin : begin + batch]
        total += step(rows, _part(draws, begin, begin + batch)) * rows.shape[1]
    array.network.count_steps(len(begins))
    return (total / count).tolist()  # the only wait for the device in an epoch
