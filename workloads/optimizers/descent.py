"""One step of gradient descent on the stacked weights of S networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.arrays import counter


@dataclass(frozen=True)
class Move:
    """What a step needs beside the gradient. Numbers are (S, 1), one a network.

    Attributes:
        rate: The learning rate now, (S, 1), or (S, P) where parameter groups differ.
        decay: What the weights are multiplied by and added to the gradient, likewise; None for nothing.
        numbers: The optimizer's own numbers by field.
        used: The fields that are not zero in all networks.
        keys: (S,) keys of this step's noise.
    """

    rate: Tensor
    decay: Tensor | None
    numbers: Mapping[str, Tensor]
    used: frozenset[str]
    keys: Callable[[], Tensor]


@torch.no_grad()
def descend(weights: Tensor, gradient: Sequence[Tensor], velocity: Tensor, move: Move) -> None:
    r"""$g \leftarrow g + \lambda w$, $v \leftarrow m v + g$, $w \leftarrow w - \eta v$, in place; (S, P) each.

    The gradient comes in pieces (S, p), whose columns make up those of the others one by one; it is left as it is.
    """
    with_momentum = "momentum" in move.used
    if with_momentum:
        velocity.mul_(move.numbers["momentum"])
    begin = 0
    for piece in gradient:
        its = slice(begin, begin + piece.shape[1])
        if move.decay is not None:
            piece = torch.addcmul(piece, weights[:, its], _columns(move.decay, its))
        if with_momentum:
            velocity[:, its].add_(piece)
        else:
            weights[:, its].addcmul_(piece, _columns(move.rate, its), value=-1)
        begin = its.stop
    if with_momentum:
        weights.addcmul_(velocity, move.rate, value=-1)


def _columns(numbers: Tensor, its: slice) -> Tensor:
    """Of (S, P), or of (S, 1), one for all."""
    return numbers if numbers.shape[1] == 1 else numbers[:, its]


@torch.no_grad()
def diffuse(weights: Tensor, move: Move) -> None:
    r"""$w \leftarrow w + A \xi$ in place, $\xi \sim N(0, I)$ from each network's own key."""
    if "noise" in move.used:
        noise = counter.normal(move.keys(), weights.shape[1:], weights.dtype)
        weights.addcmul_(noise, move.numbers["noise"])
