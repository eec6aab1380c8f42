"""The smallest activation, the loss with its l2 term, the mean change: on networks where they can be written down."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workloads.datasets.images import Data
from workloads.measures.activations import smallest_activation
from workloads.measures.curvature import regularized_loss
from workloads.measures.norms import mean_change_from_start
from workloads.measures.snapshot import Snapshot
from workloads.models import MLP, Conv4, ResNet18
from workloads.models.activations import PolynomialReLU
from workloads.starts import BiasOffset, Zero


def snapshot(model: nn.Module, images: Tensor) -> Snapshot:
    labels = torch.zeros(len(images), dtype=torch.int64)
    data = Data(images, labels, images, labels, (0.0,), (1.0,), 10)
    return Snapshot(model.eval().requires_grad_(False), {}, data, "cpu")


def pixels(count: int = 30) -> Tensor:
    return torch.randint(256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_it_is_the_smallest_input_of_any_relu_on_any_image():
    network = MLP(widths=(6, 5)).build((1, 8, 8), 10)
    BiasOffset(offset=0.0).apply(network, 0)
    images = pixels()
    first, second = (network.get_submodule(name) for name in ("1", "3"))
    before = first((images.float() / 255).flatten(1))
    expected = min(before.min().item(), second(before.relu()).min().item())
    assert smallest_activation(snapshot(network, images)) == pytest.approx(expected, rel=1e-5)


def test_a_large_bias_makes_a_network_affine():
    network = MLP(width=8, depth=3).build((1, 8, 8), 10)
    BiasOffset(offset=0.0).apply(network, 0)
    assert smallest_activation(snapshot(network, pixels())) < 0
    BiasOffset(offset=200.0).apply(network, 0)
    found = smallest_activation(snapshot(network, pixels()))
    assert found > 0
    one, two = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).split(1)
    assert torch.allclose((network(one) + network(two)) / 2, network((one + two) / 2), rtol=1e-4), "affine"


def test_relus_that_are_no_layers_are_seen():
    network = ResNet18(width=2).build((1, 8, 8), 10)
    Zero().apply(network, 0)
    assert smallest_activation(snapshot(network, pixels())) == 0.0


@pytest.mark.parametrize("model", [MLP(depth=0), Conv4(width=2, activation=PolynomialReLU())])
def test_networks_without_one_are_refused(model: Any):
    network = model.build((1, 8, 8), 10)
    Zero().apply(network, 0)
    with pytest.raises(ValueError, match="no ReLU"):
        smallest_activation(snapshot(network, pixels(2)))


def test_the_l2_term_is_half_the_decay_times_the_squared_norm():
    network = MLP(width=8, depth=1).build((1, 8, 8), 10)
    Zero().apply(network, 0)
    assert regularized_loss(snapshot(network, pixels()), weight_decay=0.5) == pytest.approx(math.log(10), rel=1e-6)
    with torch.no_grad():
        dict(network.named_parameters())["3.bias"].fill_(2.0)
    found = regularized_loss(snapshot(network, pixels()), weight_decay=0.5)
    assert found == pytest.approx(math.log(10) + 0.25 * 40, rel=1e-6)
    with pytest.raises(ValueError, match="at least 0"):
        regularized_loss(snapshot(network, pixels()), weight_decay=-1.0)


def test_the_mean_change_counts_each_tensor_once():
    network = MLP(width=8, depth=1).build((1, 8, 8), 10)
    Zero().apply(network, 0)
    start = {name: item.detach().clone() for name, item in network.named_parameters()}
    with torch.no_grad():
        dict(network.named_parameters())["1.weight"].fill_(3.0)  # 512 numbers
        dict(network.named_parameters())["3.bias"].fill_(4.0)  # 10 numbers
    looked_at = snapshot(network, pixels(2))
    moved = Snapshot(looked_at.model, start, looked_at.data, "cpu")
    assert mean_change_from_start(moved) == pytest.approx(5.0, rel=1e-6)


def test_a_diverged_network_has_no_smallest_activation():
    """It has ReLUs, so it is not refused for having none."""
    network = MLP(width=8, depth=1).build((1, 8, 8), 10)
    with torch.no_grad():
        dict(network.named_parameters())["1.weight"].fill_(math.nan)
    assert math.isnan(smallest_activation(snapshot(network, pixels(2))))
