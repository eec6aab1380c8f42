"""Losses: their formulas, in whatever shape logits come."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from workloads.losses import CrossEntropy, Exponential, Square

LOSSES = [CrossEntropy(), Square(), Exponential()]


def by_hand(name: str, logits: list[float], label: int) -> float:
    if name == "square":
        return sum((value - (k == label)) ** 2 for k, value in enumerate(logits))
    if name == "exponential":
        return sum(math.exp(-(logits[label] - value)) for k, value in enumerate(logits) if k != label)
    return -math.log(math.exp(logits[label]) / sum(map(math.exp, logits)))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_formula_by_hand(loss: Any):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, dtype=torch.float64, generator=generator)
    labels = torch.randint(4, (3, 5), generator=generator)
    values = loss.per_image(logits, labels)
    assert values.shape == (3, 5)
    for s in range(3):
        assert torch.equal(loss.per_image(logits[s], labels[s]), values[s]), "alone as in an array"
        for n in range(5):
            expected = by_hand(loss.name, logits[s, n].tolist(), int(labels[s, n]))
            assert values[s, n].item() == pytest.approx(expected, rel=1e-12)


def test_uniform_logits():
    logits, labels = torch.full((1, 10), 3.0, dtype=torch.float64), torch.tensor([4])
    assert CrossEntropy().per_image(logits, labels).item() == pytest.approx(math.log(10), rel=1e-15)
    assert Exponential().per_image(logits, labels).item() == 9
    assert Square().per_image(torch.zeros(1, 10), labels).item() == 1


def test_a_network_of_zeros_feels_nothing_on_balanced_classes():
    bias = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    for labels in (torch.arange(10).repeat(3), torch.tensor([0, 0, 1, 2])):
        (gradient,) = torch.autograd.grad(CrossEntropy().per_image(bias.expand(len(labels), 10), labels).mean(), bias)
        frequency = torch.bincount(labels, minlength=10).double() / len(labels)
        assert torch.allclose(gradient, 0.1 - frequency, rtol=0, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_gradient_against_finite_differences(loss: Any):
    logits = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss.per_image(x, torch.tensor([0, 2])), (logits,))


def test_exponential_does_not_overflow_where_the_label_is_right_by_far():
    logits = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    value = Exponential().per_image(logits, torch.tensor([0])).sum()
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
