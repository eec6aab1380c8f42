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


def scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """What a uint8 pixel is multiplied by and what is added, (1, C, 1, 1): over 255, less the mean, over the std."""
    center, spread = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    scale, shift = 1 / (255 * spread), -center / spread
    return scale.view(1, -1, 1, 1).to(device, dtype), shift.view(1, -1, 1, 1).to(device, dtype)


def normalized(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (N, C, H, W) -> float32, scaled to [0, 1], minus mean, over std, per channel."""
    scale, shift = scale_and_shift(mean, std, torch.float32, x.device)
    return x.float().mul_(scale).add_(shift)
