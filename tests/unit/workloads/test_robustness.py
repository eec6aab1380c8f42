"""FGSM: what it does to a linear model in pixels, whatever stands between pixels and network; nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from workloads.adversaries import PGD
from workloads.datasets.images import Data
from workloads.measures.robustness import fgsm_accuracy, fgsm_drop, fgsm_relative_drop, log_odds, logits
from workloads.measures.snapshot import Snapshot

EPSILON = 8 / 255
STD = (0.25,)


def snapshot(weight: Tensor, images: Tensor, labels: Tensor) -> Snapshot:
    """Two logits, 0 and w.x of what is 0.5 less than the pixels, over the std."""
    linear = nn.Linear(len(weight), 2, bias=False)
    linear.weight.data = torch.stack([torch.zeros(len(weight)), weight])
    model = nn.Sequential(nn.Flatten(), linear).eval().requires_grad_(False)
    return Snapshot(model, {}, Data(images, labels, images, labels, (0.5,), STD, 2), "cpu")


def test_a_linear_model_loses_epsilon_times_the_l1_norm():
    """Check 24 of the known answers: the image moves by epsilon times the sign, the logit by epsilon |w|_1 / std."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, generator=generator)
    images = torch.randint(100, 150, (20, 1, 3, 4), generator=generator, dtype=torch.uint8)
    found = snapshot(weight, images, torch.ones(20, dtype=torch.int64))
    pixels = images / 255
    attack = PGD(epsilon=EPSILON, step=EPSILON, steps=1, random_start=False, mode="eval")
    moved = attack.attack(pixels, lambda inside: log_odds(found, inside, found.data.test_y), None)
    torch.testing.assert_close(moved - pixels, (-EPSILON * weight.sign()).view(1, 1, 3, 4).expand(20, -1, -1, -1))
    fall = (logits(found, pixels) - logits(found, moved))[:, 1]
    torch.testing.assert_close(fall, torch.full((20,), EPSILON * weight.abs().sum().item() / STD[0]))


@pytest.mark.parametrize("epsilon", [0.0, 1 / 255, 2 / 255, 8 / 255, 64 / 255])
def test_accuracy_is_that_of_images_further_from_the_boundary_than_the_attack_reaches(epsilon: float):
    """One pixel, w = 1: right are class 1 above 0.5 + epsilon, and class 0 not above 0.5 - epsilon."""
    images = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
    value = torch.arange(256) / 255
    labels = (value > 0.5).long()
    expected = ((value - 0.5).abs() > epsilon).double().mean().item()
    found = snapshot(torch.ones(1), images, labels)
    assert fgsm_accuracy(found, epsilon=epsilon) == pytest.approx(expected, abs=2 / 256)
    assert fgsm_drop(found, epsilon=epsilon) == pytest.approx(1 - expected, abs=2 / 256)


def test_a_network_that_is_sure_hides_no_gradient():
    """Softmax is 1 here, in float64 too, and the gradient of the cross-entropy 0."""
    images = torch.full((4, 1, 1, 1), 128, dtype=torch.uint8)
    found = snapshot(torch.full((1,), 1e4), images, torch.ones(4, dtype=torch.int64))
    assert fgsm_accuracy(found, epsilon=0.0) == 1
    assert fgsm_accuracy(found, epsilon=EPSILON) == 0
    assert fgsm_relative_drop(found, epsilon=EPSILON) == 1


def test_the_network_is_left_alone():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval().requires_grad_(False)
    images = torch.randint(256, (30, 1, 2, 2), dtype=torch.uint8)
    labels = torch.zeros(30, dtype=torch.int64)
    found = Snapshot(model, {}, Data(images, labels, images, labels, (0.5,), (0.5,), 2), "cpu")
    before = {name: item.clone() for name, item in model.state_dict().items()}
    fgsm_accuracy(found)
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())
    assert not model.training


def test_wrong_uses_are_refused():
    images, labels = torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="within 0 and 1"):
        fgsm_accuracy(snapshot(torch.ones(1), images, labels), epsilon=8.0)
    with pytest.raises(ValueError, match="have none"):
        fgsm_accuracy(snapshot(torch.ones(1), images.float(), labels))
