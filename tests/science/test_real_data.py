"""The engine reaches on real images what a plain PyTorch script reaches: same recipe, five seeds each, CIFAR-10."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from tests.contract.here import Finished, Here
from tests.science.whole_cifar10 import alike
from workloads import measure, train
from workloads.contract import Hardware, Job, Result
from workloads.datasets import CIFAR10
from workloads.measure import MeasureConfig
from workloads.models import AllConvolutional
from workloads.optimizers import SGD
from workloads.schedules import Multistep
from workloads.train import Stop, TrainConfig

pytestmark = [pytest.mark.science, pytest.mark.timeout(1500)]

SEEDS, EPOCHS, DROP, BATCH, IMAGES, WIDTH = range(5), 15, 12, 100, 5000, 16
RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4


def config() -> TrainConfig:
    return TrainConfig(
        data=CIFAR10(subset=IMAGES, augment="crop_flip"),
        model=AllConvolutional(width=WIDTH),
        optimizer=SGD(lr=RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        schedule=Multistep(milestones=(DROP,)),
        batch_size=BATCH,
        stop=Stop(epochs=EPOCHS),
    )


def ours(data_dir: Path, slots: int) -> list[float]:
    """Test accuracies by seed."""
    jobs = [Job(config(), Here(seed=seed, data_dir=data_dir)) for seed in SEEDS]
    found = {}
    for ended in train.run_array(jobs, Hardware(slots=slots)):
        assert isinstance(ended.result, Result), ended.result
        seed = ended.job.context.seed
        asked = MeasureConfig.model_validate({"from": "input", "measures": ("test_accuracy",)})
        below = {"input": Finished(config(), ended.result, seed=seed)}
        closed = measure.resolve(asked, {"input": config()})
        found[seed] = measure.run(closed, Here(seed=seed, data_dir=data_dir, inputs=below)).metrics["test_accuracy"]
    return [found[seed] for seed in SEEDS]


def network() -> nn.Sequential:
    """The net of memo 067 as one would write it down: 34n^2 + 41n + 10 parameters."""
    layers: list[nn.Module] = []
    for inputs, kernel, stride, padding in ((3, 3, 2, 1), (WIDTH, 3, 2, 1), (WIDTH, 3, 2, 1), (WIDTH, 4, 1, 0)):
        layers += [nn.Conv2d(inputs, WIDTH, kernel, stride, padding), nn.BatchNorm2d(WIDTH, affine=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTH, 10))


def script(data_dir: Path, seed: int) -> float:
    """The test accuracy of a plain script: torchvision's transforms, torch.optim, the global generator."""
    arrays = CIFAR10().arrays(data_dir)
    with torch.random.fork_rng():
        torch.manual_seed(1000 + seed)
        rows = torch.randperm(len(arrays.train_y))[:IMAGES]
        x, y = arrays.train_x[rows], arrays.train_y[rows]
        augment = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
        finish = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(CIFAR10.MEAN, CIFAR10.STD)])
        model = network()
        assert sum(item.numel() for item in model.parameters()) == 9370
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [DROP])
        for _ in range(EPOCHS):
            for batch in torch.randperm(IMAGES).split(BATCH):
                images = torch.stack([finish(augment(x[row])) for row in batch])
                loss = F.cross_entropy(model(images), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = [
            (model(finish(images)).argmax(1) == labels).sum().item()
            for images, labels in zip(arrays.test_x.split(1000), arrays.test_y.split(1000), strict=True)
        ]
    return sum(right) / len(arrays.test_y)


@pytest.mark.parametrize("slots", [1, 5])
def test_within_two_standard_errors_of_a_plain_script(data_dir: Path, slots: int):
    torch.set_num_threads(1)
    mine, theirs = ours(data_dir, slots), [script(data_dir, seed) for seed in SEEDS]
    assert statistics.mean(mine) > 0.4
    assert alike(mine, theirs)
