"""Points in the plane: real numbers from the data set to the network, augmented once, and trained on like images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from workloads.datasets import Digits, Gaussians
from workloads.models import MLP
from workloads.optimizers import SGD
from workloads.train import Stop, TrainConfig
from workloads.training.evaluation import normalized, unit
from workloads.training.pool import Pool

HERE = Path()


def test_the_points_are_two_gaussians_the_same_for_all_seeds():
    data = Gaussians(per_class=4000).load(HERE, 0)
    points = data.train_x.flatten(1).double()
    assert data.shape == (2, 1, 1)
    assert data.train_x.dtype == torch.float32
    for label, center in ((0, 0.2 - 0.65), (1, 0.2 + 0.65)):
        own = points[data.train_y == label]
        assert len(own) == 4000
        torch.testing.assert_close(own.mean(0), torch.tensor([center, 0.2]).double(), rtol=0, atol=0.01)
        torch.testing.assert_close(own.std(0), torch.full((2,), 0.15).double(), rtol=0, atol=0.01)
    assert torch.equal(data.train_x, Gaussians(per_class=4000).load(HERE, 5).train_x)
    assert not torch.equal(data.train_x, data.test_x)


def test_noisy_copies_are_drawn_once_and_only_trained_on():
    config = Gaussians(noisy_copies=2, noise=0.1)
    data, plain, other = config.load(HERE, 0), Gaussians().load(HERE, 0), config.load(HERE, 1)
    assert data.train_x.shape == (300, 2, 1, 1)
    assert config.images() == (300, 100)
    assert torch.equal(data.train_x[:100], plain.train_x)
    assert torch.equal(data.train_y, plain.train_y.repeat(3))
    noise = data.train_x[100:] - plain.train_x.repeat(2, 1, 1, 1)
    assert noise.std().item() == pytest.approx(0.1, rel=0.1)
    assert torch.equal(data.train_x, config.load(HERE, 0).train_x)
    assert not torch.equal(data.train_x, other.train_x)
    assert config.drawn
    assert not Gaussians().drawn
    assert torch.equal(data.test_x, plain.test_x)
    assert config.clean() == Gaussians(noise=0.1)


def test_real_numbers_are_not_divided_by_255():
    points, images = Gaussians().load(HERE, 0), Digits(normalize=False).load(HERE, 0)
    assert (unit(points.train_x), unit(images.train_x)) == (1, 255)
    assert torch.equal(normalized(points.train_x, points.mean, points.std), points.train_x)
    assert normalized(images.train_x, images.mean, images.std).max() == 1
    pool = Pool(points, 2, False, "cpu", torch.float64)
    seen = pool.normalized(pool.block(0, 100))
    assert torch.equal(seen, points.train_x.double().repeat(1, 2, 1, 1))
    again = pool.normalized(pool.block(0, 100))
    assert torch.equal(seen, again), "the pool's own points are left alone"


def test_what_is_for_pictures_is_refused():
    with pytest.raises(ValidationError, match="augment"):
        Gaussians.model_validate({"augment": "crop_flip"})
    attack = {"name": "pgd", "epsilon": 0.1, "step": 0.1, "steps": 1}
    with pytest.raises(ValidationError, match="gaussians has no pixels"):
        TrainConfig.model_validate(
            {
                "data": Gaussians(),
                "model": MLP(),
                "optimizer": SGD(lr=0.1),
                "stop": Stop(epochs=1),
                "adversary": attack,
            }
        )
