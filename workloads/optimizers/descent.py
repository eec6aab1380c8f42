"""One step of gradient descent on the stacked weights of S networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
def descend(weights: Tensor, gradient: Tensor, velocity: Tensor, move: Move) -> None:
    r"""$g \leftarrow g + \lambda w$, $v \leftarrow m v + g$, $w \leftarrow w - \eta v$, in place; (S, P) each."""
    if move.decay is not None:
        gradient = gradient.addcmul_(weights, move.decay)
    if "momentum" in move.used:
        gradient = velocity.mul_(move.numbers["momentum"]).add_(gradient)
    weights.addcmul_(gradient, move.rate, value=-1)


@torch.no_grad()
def diffuse(weights: Tensor, move: Move) -> None:
    r"""$w \leftarrow w + A \xi$ in place, $\xi \sim N(0, I)$ from each network's own key."""
    if "noise" in move.used:
        noise = counter.normal(move.keys(), weights.shape[1:], weights.dtype)
        weights.addcmul_(noise, move.numbers["noise"])
