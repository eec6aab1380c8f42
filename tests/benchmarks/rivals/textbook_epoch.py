"""A textbook CIFAR script: ResNet-18, fp32, a DataLoader with torchvision's transforms, torch.optim.SGD.

    python textbook_epoch.py FILE DEVICE EPOCHS WORKERS THREADS

FILE holds images, labels, mean and std, the width, and the weights to start from. It prints the seconds and the mean
loss of every epoch as JSON. Only PyTorch's defaults are set: no channels_last, no autocast, no graph.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.benchmarks.rivals.torchvision_loader import loader

BATCH, RATE, MOMENTUM, WEIGHT_DECAY = 128, 0.1, 0.9, 5e-4


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or planes_in != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(planes_in, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    """The CIFAR form; `width` channels in the first stage."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width, 1))
        self.linear = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.linear(out)


def put(weights: Iterable[Tensor], model: nn.Module) -> nn.Module:
    """The model with these parameters and buffers, given in the order of its own."""
    names = model.state_dict()
    model.load_state_dict(dict(zip(names, weights, strict=True)))
    return model


def train(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer, device: str
) -> float:
    """One epoch; its mean loss."""
    model.train()
    total, count = 0.0, 0
    for x, y in batches:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
        count += len(y)
    return total / count


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def main(file: str, device: str, epochs: int, workers: int, threads: int) -> None:
    torch.set_num_threads(threads)
    given = torch.load(file, weights_only=True)
    images, labels = given["images"], given["labels"]
    batches = loader(images, labels, given["mean"], given["std"], BATCH, workers, device != "cpu")
    model = put(given["weights"], ResNet18(images.shape[1], given["width"], given["classes"])).to(device)
    optimizer = sgd(model)
    seconds, losses = [], []
    for _ in range(epochs):
        start = time.perf_counter()
        losses.append(train(model, batches, optimizer, device))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "losses": losses}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
