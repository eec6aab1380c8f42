"""Sizes worked out without torch are those of the real modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from workloads.datasets import CIFAR10, MNIST, Digits
from workloads.models import Model
from workloads.models.base import Network, Shape
from workloads.models.branching import DenseNet40, SmallInception
from workloads.models.plain import MLP, VGG16, AllConvolutional, Conv4, NTKConvNet, SmallAlexNet, VGGGeneralization
from workloads.models.residual import MobileNetV2, ResNet18, ResNet20Fixup, ResNet50, WideResNet

NETWORKS = [
    *(MLP(width=7, depth=3), MLP(widths=(9, 4), batch_norm=True), MLP(depth=0)),
    *(Conv4(width=4), Conv4(batch_norm=True), AllConvolutional(), AllConvolutional(batch_norm=False)),
    *(NTKConvNet(), SmallAlexNet(width=8), VGG16(width=8)),
    *(VGGGeneralization(width=4), VGGGeneralization(width=4, variant="code")),
    *(ResNet18(width=8), ResNet50(width=4), ResNet20Fixup(), WideResNet(width=1), WideResNet(depth=10, width=2)),
    *(WideResNet(depth=10, width=2, variant="biased"), WideResNet(width=1, depth=22)),
    *(DenseNet40(growth=4), DenseNet40(growth=4, variant="kuangliu"), SmallInception(width=12), MobileNetV2(width=8)),
]
SHAPES = [(3, 32, 32), (1, 17, 9)]


def label(value: Any) -> str | None:
    return str(value.model_dump(exclude_defaults=True)) if isinstance(value, Network) else None


def counted(config: Network, shape: Shape) -> int:
    """Multiply-adds of one image through the real module, layer by layer as it runs."""
    model, found = config.build(shape, 10).eval(), 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal found
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        places = result[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        found += layer.weight.numel() * places

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    return found


def test_every_network_is_here():
    assert {type(config) for config in NETWORKS} == set(get_args(get_args(Model)[0]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("config", NETWORKS, ids=label)
def test_multiply_adds_are_those_of_the_module(config: Network, shape: Shape):
    assert config.size(shape, 10).multiply_adds == counted(config, shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("config", NETWORKS, ids=label)
def test_numbers_are_those_of_the_state_dict(config: Network, shape: Shape):
    state = config.build(shape, 10).state_dict()
    held = sum(tensor.numel() for name, tensor in state.items() if not name.endswith("num_batches_tracked"))
    assert config.size(shape, 10).numbers == held


def test_sizes_need_no_torch():
    code = (
        "import sys; from workloads.models import ResNet18; "
        "print(ResNet18().size((3, 32, 32), 10).multiply_adds, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["555422720", "False"]


COUNTED = [{}, {"subset": 100}, {"subset": 50, "copies": 3}, {"subset": 200, "confusion": 40}]


@pytest.mark.parametrize("options", COUNTED, ids=str)
def test_images_are_counted_without_looking(tmp_path: Path, options: dict[str, int]):
    data = Digits.model_validate(options)
    loaded = data.load(tmp_path, 0)
    assert data.images() == (len(loaded.train_x), len(loaded.test_x))
    assert loaded.shape == data.SHAPE


@pytest.mark.parametrize("dataset", [CIFAR10, MNIST])
def test_published_sizes(dataset: type[CIFAR10 | MNIST], data_dir: Path):
    loaded = dataset().load(data_dir, 0)
    assert dataset().images() == (len(loaded.train_x), len(loaded.test_x))
    assert loaded.shape == dataset.SHAPE
