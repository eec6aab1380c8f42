"""A small training as a plain PyTorch script has it: images in memory, SGD with momentum, weights saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import CIFAR10

EPOCHS, BATCH, MOMENTUM = 10, 128, 0.9
IMAGES, CLASSES, SIDE = 1000, 10, 32
CHANNELS, UNITS = 16, 512


class Trial(NamedTuple):
    model: str
    rate: float
    seed: int


def build(name: str) -> nn.Sequential:
    """`conv`: four convolutions of 16 channels with batch norm and a linear layer; `mlp`: 512-512."""
    if name == "mlp":
        hidden = [nn.Linear(3 * SIDE * SIDE, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(UNITS, CLASSES))
    layers: list[nn.Module] = []
    for below in (3, CHANNELS, CHANNELS, None):
        last = nn.Conv2d(CHANNELS, CHANNELS, SIDE // 8)
        layers.append(last if below is None else nn.Conv2d(below, CHANNELS, 3, stride=2, padding=1))
        layers += [nn.BatchNorm2d(CHANNELS, affine=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS, CLASSES))


@cache
def images(data: Path) -> tuple[Tensor, Tensor]:
    """The first 1,000 of CIFAR-10, normalized; read once by a process."""
    whole = CIFAR10(data, train=True)
    x = torch.tensor(whole.data[:IMAGES]).permute(0, 3, 1, 2) / 255
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True), torch.tensor(whole.targets[:IMAGES])


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


def run(trial: Trial, data: Path, device: str, folder: Path) -> dict[str, float]:
    """Train and save one; train loss and accuracy at its end."""
    torch.manual_seed(trial.seed)
    x, y = (tensor.to(device) for tensor in images(data))
    model = build(trial.model).to(device)
    fit(model, x, y, trial.rate, orders(len(x)))
    model.eval()
    with torch.no_grad():
        outputs = model(x)
    torch.save(model.state_dict(), folder / f"{trial.model}-{trial.rate}-{trial.seed}.pt")
    accuracy = (outputs.argmax(1) == y).float().mean().item()
    return {"train_loss": F.cross_entropy(outputs, y).item(), "train_accuracy": accuracy}
