"""A small training as a plain PyTorch script has it: digits in memory, SGD with momentum, weights saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

EPOCHS, BATCH, MOMENTUM = 10, 128, 0.9
IMAGES, CLASSES = 1200, 10
CHANNELS, UNITS = 16, 512


class Trial(NamedTuple):
    model: str
    rate: float
    seed: int


def build(name: str) -> nn.Sequential:
    """`conv`: four convolutions of 16 channels with batch norm and a linear layer; `mlp`: 512-512. For 8x8 images."""
    if name == "mlp":
        hidden = [nn.Linear(64, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(UNITS, CLASSES))
    layers: list[nn.Module] = []
    for below in (1, CHANNELS, CHANNELS, None):
        last = nn.Conv2d(CHANNELS, CHANNELS, 1)
        layers.append(last if below is None else nn.Conv2d(below, CHANNELS, 3, stride=2, padding=1))
        layers += [nn.BatchNorm2d(CHANNELS, affine=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS, CLASSES))


def digits() -> tuple[Tensor, Tensor]:
    """The first 1,200 of them, normalized."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[:IMAGES] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    return (x - x.mean()) / x.std(), torch.tensor(labels[:IMAGES])


def orders(count: int) -> Iterator[Tensor]:
    for _ in range(EPOCHS):
        yield torch.randperm(count)


def fit(model: nn.Module, x: Tensor, y: Tensor, rate: float, epochs: Iterable[Tensor]) -> None:
    """One pass over the images for each order in `epochs`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM)
    model.train()
    for order in epochs:
        for rows in order.to(x.device).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()


def run(trial: Trial, device: str, folder: Path) -> dict[str, float]:
    """Train and save one; train loss and accuracy at its end."""
    torch.manual_seed(trial.seed)
    x, y = (tensor.to(device) for tensor in digits())
    model = build(trial.model).to(device)
    fit(model, x, y, trial.rate, orders(len(x)))
    model.eval()
    with torch.no_grad():
        outputs = model(x)
    torch.save(model.state_dict(), folder / f"{trial.model}-{trial.rate}-{trial.seed}.pt")
    accuracy = (outputs.argmax(1) == y).float().mean().item()
    return {"train_loss": F.cross_entropy(outputs, y).item(), "train_accuracy": accuracy}
