"""The slow twin of the training engine: one network, plain PyTorch, image by image, step by step, in float64.

It shares with the engine the named streams and the counter of the draws inside a step, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.arrays import counter
from workloads.contract import stream_seed
from workloads.datasets.augmentation import draw_crop_flip
from workloads.datasets.images import Arrays, ImageData
from workloads.streams import generator
from workloads.train import TrainConfig


class Tiny(ImageData):
    """Images of noise with labels that depend on them; of any size, for tests."""

    name: str = "tiny"
    count: int = 40
    channels: int = 3
    side: int = 8
    MEAN: ClassVar[tuple[float, ...]] = (0.4, 0.5, 0.6)
    STD: ClassVar[tuple[float, ...]] = (0.2, 0.25, 0.3)

    def fingerprint(self, data_dir: Path) -> str:
        return "tiny"

    def missing(self, data_dir: Path) -> str | None:
        return None

    def arrays(self, data_dir: Path) -> Arrays:
        x = torch.randint(256, (self.count, self.channels, self.side, self.side), generator=generator(0, "tiny"))
        y = x.flatten(1).sum(1) % 10
        return Arrays(x.to(torch.uint8), y, x[:5].to(torch.uint8), y[:5])


class Masked(nn.Module):
    """Dropout whose mask is that of a network's own stream."""

    def __init__(self, rate: float, seed: int, path: str) -> None:
        super().__init__()
        self.rate, self.key, self.step = rate, torch.tensor([stream_seed(seed, f"dropout:{path}")]), 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        key = counter.mix(self.key, torch.tensor(self.step))
        return x * (counter.uniform(key, x.shape, x.dtype)[0] >= self.rate) / (1 - self.rate)


def build(config: TrainConfig, seed: int) -> tuple[nn.Module, list[Masked]]:
    """The network at its start, in float64, with the masks of its own streams."""
    assert config.model is not None
    data = config.data.load(Path(), seed)
    model = config.model.build(data.shape, data.classes)
    config.start.apply(model, seed)  # pyright: ignore[reportAttributeAccessIssue]
    model.double().train()
    masks = []
    for path, module in [*model.named_modules()]:
        if isinstance(module, nn.Dropout):
            owner, _, name = path.rpartition(".")
            masks.append(Masked(module.p, seed, path))
            setattr(model.get_submodule(owner), name, masks[-1])
    return model, masks


def image(raw: Tensor, draw: Tensor | None, config: TrainConfig) -> Tensor:
    """One image as the network sees it: (C, H, W) float64."""
    x = raw
    if draw is not None:
        row, column, flip = draw.tolist()
        x = F.pad(x, (4, 4, 4, 4))[:, row : row + raw.shape[1], column : column + raw.shape[2]]
        x = x.flip(2) if flip else x
    mean, std = (torch.tensor(item, dtype=torch.float64).view(-1, 1, 1) for item in (config.data.MEAN, config.data.STD))
    return (x.double() / 255 - mean) / std


def loss_of(outputs: Tensor, labels: Tensor, name: str) -> Tensor:
    """Mean over images, as the paper's formulas read."""
    if name == "square":
        return (outputs - F.one_hot(labels, outputs.shape[1])).square().sum(1).mean()
    if name == "exponential":
        margins = outputs.gather(1, labels[:, None]) - outputs
        return (torch.exp(-margins).sum(1) - 1).mean()
    return F.cross_entropy(outputs, labels)


def train(config: TrainConfig, seed: int) -> tuple[dict[str, Tensor], list[float]]:
    """The state dict after the last epoch, and the mean loss of each epoch."""
    data, (model, masks) = config.data.load(Path(), seed), build(config, seed)
    options: Any = config.optimizer
    optimizer = torch.optim.SGD(
        model.parameters(), options.lr, momentum=options.momentum, weight_decay=options.weight_decay, foreach=False
    )
    count, curve = len(data.train_y), []
    size = count if config.batch_size == "full" else config.batch_size
    for epoch in range(config.stop.epochs):
        for group in optimizer.param_groups:
            group["lr"] = options.lr * (0.5 if epoch >= 2 and config.schedule.name == "multistep" else 1.0)
        order = torch.randperm(count, generator=generator(seed, "order", epoch)).tolist()
        draws = draw_crop_flip(count, generator(seed, "augment", epoch))
        total = 0.0
        for first in range(0, count, size):
            batch = order[first : first + size]
            augment = config.data.augment == "crop_flip"
            x = torch.stack([image(data.train_x[row], draws[row] if augment else None, config) for row in batch])
            loss = loss_of(model(x), data.train_y[batch], config.loss.name)
            optimizer.zero_grad()
            loss.backward()
            if config.regularizer is not None:
                norm = sum(item.detach().square().sum() for item in model.parameters())
                sign = torch.sign(norm - config.regularizer.mu2)  # pyright: ignore[reportArgumentType, reportCallIssue]
                for item in model.parameters():
                    assert item.grad is not None
                    item.grad += config.regularizer.weight * sign * item.detach()
            optimizer.step()
            for mask in masks:
                mask.step += 1
            total += loss.item() * len(batch)
        curve.append(total / count)
    return dict(model.state_dict()), curve
