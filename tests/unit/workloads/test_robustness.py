"""FGSM and PGD: what they do to linear models in pixels, whatever is between pixels and network; no more."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.adversaries import PGD
from workloads.datasets.images import Data
from workloads.measures.robustness import (
    attacked,
    fgsm_accuracy,
    fgsm_drop,
    fgsm_relative_drop,
    log_odds,
    logits,
    pgd_accuracy,
)
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


def test_the_objective_has_the_signs_of_the_cross_entropy():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval().requires_grad_(False)
    draws = torch.Generator().manual_seed(0)
    for item in model.state_dict().values():
        item.copy_(torch.randn(item.shape, generator=draws))
    images, labels = torch.randint(256, (9, 1, 3, 4), generator=draws, dtype=torch.uint8), torch.arange(9) % 5
    found = Snapshot(model, {}, Data(images, labels, images, labels, (0.5,), STD, 5), "cpu")
    pixels = (images.float() / 255).requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(logits(found, pixels).double(), labels), pixels)
    (objective,) = torch.autograd.grad(log_odds(found, pixels, labels).sum(), pixels)
    assert torch.equal(objective.sign(), expected.sign())


def test_a_network_that_is_sure_hides_no_gradient():
    """Softmax is 1 in float64 here, by far, and the gradient of the cross-entropy 0."""
    images = torch.full((4, 1, 1, 1), 128, dtype=torch.uint8)
    found = snapshot(torch.full((1,), 1e6), images, torch.ones(4, dtype=torch.int64))
    assert fgsm_accuracy(found, epsilon=0.0) == 1
    assert fgsm_accuracy(found, epsilon=EPSILON) == 0
    assert fgsm_relative_drop(found, epsilon=EPSILON) == 1


@pytest.mark.parametrize("random_start", [False, True])
def test_an_attack_stays_in_its_ball_and_in_the_box(random_start: bool):
    """As the measure runs it: images at the edges of [0, 1], steps that would lead out."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 2)).eval().requires_grad_(False)
    draws = torch.Generator().manual_seed(0)
    for item in model.state_dict().values():
        item.copy_(torch.randn(item.shape, generator=draws))
    images = torch.randint(256, (40, 1, 3, 4), generator=draws, dtype=torch.uint8)
    images[:10], images[10:20] = 0, 255
    labels = torch.arange(40) % 2
    found = Snapshot(model, {}, Data(images, labels, images, labels, (0.5,), STD, 2), "cpu")
    pixels = images.float() / 255
    for epsilon, step in ((EPSILON, 2 / 255), (1 / 255, 0.25 / 255), (0.5, 0.4)):
        attack = PGD(epsilon=epsilon, step=step, steps=20, random_start=random_start, mode="eval")
        moved = attacked(found, attack, 0, pixels, labels)
        assert (moved - pixels).abs().max().item() <= epsilon + 1e-7
        assert moved.min().item() >= 0
        assert moved.max().item() <= 1
        before, after = (log_odds(found, it, labels).item() for it in (pixels, moved))
        assert after > before


def test_as_many_steps_reach_as_far_as_they_go_and_no_further_than_epsilon():
    """One pixel, w = 1, with steps of 1/255: after 2 the accuracy is that of a ball of 2/255."""
    images = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
    labels = (torch.arange(256) > 127).long()
    found = snapshot(torch.ones(1), images, labels)
    few = pgd_accuracy(found, epsilon=EPSILON, step=1 / 255, steps=2, random_start=False)
    many = pgd_accuracy(found, epsilon=EPSILON, step=1 / 255, steps=8, random_start=False)
    assert few == pytest.approx(1 - 4 / 256, abs=2 / 256)
    assert many == pytest.approx(fgsm_accuracy(found, epsilon=EPSILON), abs=1 / 256)
    assert pgd_accuracy(found, epsilon=EPSILON) == pytest.approx(many, abs=1 / 256), "20 steps reach it from anywhere"


def test_a_random_start_is_of_the_seed():
    images = torch.full((3, 1, 2, 2), 128, dtype=torch.uint8)
    labels = torch.ones(3, dtype=torch.int64)
    one, other = (snapshot(torch.zeros(4), images, labels) for _ in range(2))
    attack = PGD(epsilon=EPSILON, step=1e-6, steps=1, mode="eval")
    pixels = images.float() / 255
    first = attacked(one, attack, 0, pixels, labels)
    assert torch.equal(first, attacked(other, attack, 0, pixels, labels))
    assert not torch.equal(first, attacked(one, attack, 1, pixels, labels))
    seeded = Snapshot(one.model, {}, one.data, "cpu", 1)
    assert not torch.equal(first, attacked(seeded, attack, 0, pixels, labels))


def test_the_network_is_left_alone():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval().requires_grad_(False)
    images = torch.randint(256, (30, 1, 2, 2), dtype=torch.uint8)
    labels = torch.zeros(30, dtype=torch.int64)
    found = Snapshot(model, {}, Data(images, labels, images, labels, (0.5,), (0.5,), 2), "cpu")
    before = {name: item.clone() for name, item in model.state_dict().items()}
    fgsm_accuracy(found)
    pgd_accuracy(found)
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())
    assert not model.training


def test_wrong_uses_are_refused():
    images, labels = torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="within 0 and 1"):
        fgsm_accuracy(snapshot(torch.ones(1), images, labels), epsilon=8.0)
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        pgd_accuracy(snapshot(torch.ones(1), images, labels), epsilon=8.0)
    with pytest.raises(ValueError, match="at least 1 step"):
        pgd_accuracy(snapshot(torch.ones(1), images, labels), steps=0)
    with pytest.raises(ValueError, match="have none"):
        fgsm_accuracy(snapshot(torch.ones(1), images.float(), labels))
