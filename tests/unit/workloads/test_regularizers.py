"""Norm bias: the published gradient, its limits, and where it leads."""

from __future__ import annotations

import pytest
import torch

from tests.contract.here import Here
from workloads import train
from workloads.datasets import Digits
from workloads.models import MLP
from workloads.optimizers import SGD
from workloads.regularizers import NormBias
from workloads.train import Stop, TrainConfig


def decay(bias: NormBias, weights: torch.Tensor) -> torch.Tensor:
    shape = (len(weights), 1)
    numbers = {name: torch.full(shape, getattr(bias, name), dtype=weights.dtype) for name in NormBias.ARRAYABLE}
    return bias.decay(weights, numbers)


def test_sign_above_below_and_at_the_norm():
    weights = torch.tensor([[3.0, 4.0], [1.0, 1.0], [0.6, 0.8]], dtype=torch.float64) * torch.tensor(
        [[1.0], [1.0], [5.0]]
    )
    assert decay(NormBias(mu2=25, weight=0.1), weights).flatten().tolist() == [0.0, -0.1, 0.0]
    assert decay(NormBias(mu2=24, weight=0.1), weights).flatten().tolist() == [0.1, -0.1, 0.1]
    assert decay(NormBias(mu2=0, weight=0.1), weights).flatten().tolist() == [0.1] * 3, "weight decay"


def test_paper_is_the_gradient_of_the_printed_penalty():
    weights = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    penalty = 0.3 * (weights.square().sum(1) - torch.tensor([1.0, 100.0])).abs()
    (gradient,) = torch.autograd.grad(penalty.sum(), weights)
    numbers = {
        "mu2": torch.tensor([[1.0], [100.0]], dtype=torch.float64),
        "weight": torch.full((2, 1), 0.3, dtype=torch.float64),
    }
    with torch.no_grad():
        paper = NormBias(mu2=1, weight=0.3, gradient="paper").decay(weights, numbers) * weights
        code = NormBias(mu2=1, weight=0.3).decay(weights, numbers) * weights
    assert torch.allclose(paper, gradient, rtol=1e-12)
    assert torch.allclose(2 * code, gradient, rtol=1e-12)


@pytest.mark.parametrize("start", [78.0, 6403.0])
def test_without_a_loss_the_squared_norm_goes_to_mu2_from_both_sides(start: float):
    bias, rate = NormBias(mu2=1000, weight=0.005), 0.1
    weights = torch.ones(1, 100, dtype=torch.float64) * (start / 100) ** 0.5
    norms = []
    for _ in range(8000):
        weights -= rate * decay(bias, weights) * weights
        norms.append(weights.square().sum().item())
    assert abs(norms[0] - 1000) > abs(norms[1000] - 1000)
    swing = max(norms[-10:]) - min(norms[-10:])
    assert swing == pytest.approx(rate * bias.weight * 2 * bias.mu2, rel=0.01), (
        "the step it makes over the norm and back"
    )
    assert abs(norms[-1] - 1000) <= swing


def test_norms_are_summed_in_float64():
    weights = torch.tensor([[1.0, 2**-14]])  # 1 + 2^-28 is 1 in float32: a sum in it would find equality
    assert decay(NormBias(mu2=1, weight=0.5), weights).item() == 0.5


def test_at_mu_zero_a_training_is_the_one_with_weight_decay():
    def trained(rate: float, regularizer: NormBias | None) -> dict[str, torch.Tensor]:
        config = TrainConfig(
            data=Digits(subset=40), model=MLP(width=8), optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=rate),
            regularizer=regularizer, batch_size=20, precision="fp64", stop=Stop(epochs=3),
        )  # fmt: skip
        return dict(train.run(config, Here()).weights or {})

    decayed, biased = trained(0.01, None), trained(0.0, NormBias(mu2=0, weight=0.01))
    assert all(torch.equal(biased[name], item) for name, item in decayed.items())
    free = trained(0.0, None)
    assert not torch.allclose(free["1.weight"], decayed["1.weight"])
