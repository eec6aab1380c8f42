"""Spectral norms against the matrices written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workloads.datasets.images import Data
from workloads.measures.norms import parameter_norm
from workloads.measures.snapshot import Snapshot
from workloads.measures.spectral import log_spectral_product, spectral_norm


def matrix(layer: nn.Conv2d, shape: tuple[int, int, int]) -> torch.Tensor:
    """The layer's matrix without its bias, a row for each entry of the input."""
    entries = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    layer = layer.double()
    with torch.no_grad():
        return (layer(entries) - layer(torch.zeros_like(entries))).flatten(1)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(3, 6, 1, bias=False),
        nn.Conv2d(3, 6, 3, padding=1, groups=3),
        nn.Conv2d(3, 5, 8),
    ],
    ids=["3x3", "stride 2", "1x1", "groups", "whole map"],
)
def test_a_convolution_is_the_matrix_that_it_is(layer: nn.Conv2d):
    generator = torch.Generator().manual_seed(0)
    layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
    slow = torch.linalg.matrix_norm(matrix(layer, (3, 8, 8)), 2).item()
    assert spectral_norm(layer, (3, 8, 8)) == pytest.approx(slow, rel=1e-8)


def test_the_identity_and_nothing_have_norms_1_and_0():
    layer = nn.Conv2d(4, 4, 3, padding=1)
    nn.init.dirac_(layer.weight)
    assert spectral_norm(layer, (4, 8, 8)) == pytest.approx(1, rel=1e-12)
    nn.init.zeros_(layer.weight)
    assert spectral_norm(layer, (4, 8, 8)) == 0
    layer.weight.data[0, 0, 0, 0] = math.inf
    assert math.isnan(spectral_norm(layer, (4, 8, 8)))


def test_the_product_over_layers_is_that_of_the_two_matrices():
    """Check 1 of the known answers: the product of squared spectral norms is 50.2158, of Frobenius norms 71.25."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    for layer, weight in ((model[1], [[1.0, -2.0], [3.0, 0.5]]), (model[3], [[2.0, -1.0]])):
        layer.weight.data = torch.tensor(weight)  # pyright: ignore[reportAttributeAccessIssue]
    x, y = torch.zeros(1, 2, 1, 1, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    found = Snapshot(model.eval(), {}, Data(x, y, x, y, (0.0,) * 2, (1.0,) * 2, 1), "cpu")
    assert math.exp(2 * log_spectral_product(found)) == pytest.approx(50.2158, abs=1e-4)
    assert parameter_norm(found, only_weights=True) == pytest.approx(math.sqrt(14.25 + 5))
    model[1].weight.data[0, 0] = math.nan  # pyright: ignore
    assert math.isnan(log_spectral_product(found))
    model[1].weight.data.zero_()  # pyright: ignore
    assert log_spectral_product(found) == -math.inf
