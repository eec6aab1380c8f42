"""What networks make of a set of images, in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH = 1000


@dataclass(frozen=True)
class Scores:
    """Mean loss, in nats where it is the cross-entropy, and the fraction of images whose largest logit is right."""

    loss: float
    accuracy: float


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Running statistics are used, not updated; the mode is put back."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def logits(model: nn.Module, x: Tensor) -> Tensor:
    """(N, classes) of the images (N, C, H, W), eval mode."""
    with eval_mode(model):
        return torch.cat([model(block) for block in x.split(BATCH)])


def scores(outputs: Tensor, y: Tensor) -> Scores:
    """Of logits (N, classes) and labels (N,), accumulated in float64."""
    loss = F.cross_entropy(outputs.double(), y).item()
    return Scores(loss, (outputs.argmax(1) == y).double().mean().item())


def unit(x: Tensor) -> float:
    """How 1 is kept in these images: as 255 in pixels, which are uint8; real numbers are as they are."""
    return 1.0 if x.is_floating_point() else 255.0


def scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: str | torch.device, one: float = 255.0
) -> tuple[Tensor, Tensor]:
    """What an image's numbers are multiplied by and what is added, (1, C, 1, 1): over `one`, less mean, over std."""
    center, spread = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    scale, shift = 1 / (one * spread), -center / spread
    return scale.view(1, -1, 1, 1).to(device, dtype), shift.view(1, -1, 1, 1).to(device, dtype)


def normalized(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images (N, C, H, W) -> float32; pixels scaled to [0, 1], minus mean, over std, per channel."""
    scale, shift = scale_and_shift(mean, std, torch.float32, x.device, unit(x))
    return x.to(torch.float32, copy=True).mul_(scale).add_(shift)
