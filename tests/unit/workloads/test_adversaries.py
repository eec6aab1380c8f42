"""PGD: inside its bounds, known answers on linear models, and independent for every network of an array."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.contract.here import Here
from tests.unit.workloads.plain_training import Tiny
from workloads import train
from workloads.adversaries import PGD
from workloads.contract import Hardware, Job, Result
from workloads.losses import CrossEntropy
from workloads.models import Conv4
from workloads.optimizers import SGD
from workloads.train import Stop, TrainConfig
from workloads.training import step


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_fgsm_on_a_linear_loss_moves_by_epsilon_times_the_sign():
    slope = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pixels = 0.25 + images(2, 3, 4, 4) / 2  # nothing is clipped
    fgsm = PGD(epsilon=0.1, step=0.1, steps=1, random_start=False)
    found = fgsm.attack(pixels, lambda x: (x * slope).sum()[None], None)
    assert torch.allclose(found - pixels, 0.1 * slope.sign(), atol=1e-12)
    gained = ((found - pixels) * slope).sum().item()
    assert gained == pytest.approx(0.1 * slope.abs().sum().item(), rel=1e-12), "epsilon times the l1 norm"
    assert not found.requires_grad


@pytest.mark.parametrize("sign", [1, -1])
def test_stays_in_the_ball_and_in_the_box(sign: int):
    pixels = images(5, 6, 4, 4)
    start = (2 * images(5, 6, 4, 4) - 1) * 8 / 255
    pgd = PGD(epsilon=8 / 255, step=2 / 255, steps=20)
    found = pgd.attack(pixels, lambda x: (sign * x).exp().sum((0, 2, 3)), start)
    assert (found - pixels).abs().max().item() <= 8 / 255 + 1e-12
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.allclose(found, (pixels + sign * 8 / 255).clamp(0, 1)), "the loss grows with every pixel, or falls"


def test_attacking_networks_side_by_side_is_attacking_each_alone():
    networks = torch.randn(3, 2 * 4 * 4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    networks *= torch.tensor([1.0, 1e-6, 1e3])[:, None, None]  # a sign step must not see the neighbours' scale
    networks.requires_grad_()
    labels = torch.randint(10, (3, 5), generator=torch.Generator().manual_seed(3))
    pixels, start = images(5, 3 * 2, 4, 4), (2 * images(5, 3 * 2, 4, 4).flip(0) - 1) * 0.1

    def attacked(chosen: slice) -> torch.Tensor:
        def loss(inside: torch.Tensor) -> torch.Tensor:
            x = inside.unflatten(1, (-1, 2)).transpose(0, 1).flatten(2)
            return CrossEntropy().per_image((x @ networks[chosen]).tanh(), labels[chosen]).mean(1)

        channels = slice(2 * chosen.start, 2 * chosen.stop)
        return PGD(epsilon=0.1, step=0.03, steps=5).attack(pixels[:, channels], loss, start[:, channels])

    alone = torch.cat([attacked(slice(s, s + 1)) for s in range(3)], 1)
    assert torch.allclose(attacked(slice(0, 3)), alone, rtol=0, atol=1e-12)
    assert not torch.allclose(alone, (pixels + start).clamp(0, 1)), "it moved"
    assert networks.grad is None, "no gradient reaches the weights"


def config(**fields: Any) -> TrainConfig:
    made = TrainConfig.model_construct(
        data=Tiny(count=20), model=Conv4(width=2, batch_norm=True), optimizer=SGD(lr=0.05), batch_size=8,
        precision="fp64", adversary=PGD(epsilon=8 / 255, step=2 / 255, steps=3), stop=Stop(epochs=3),
    )  # fmt: skip
    return made.model_copy(update=fields)


def weights(made: TrainConfig, slots: int) -> list[dict[str, torch.Tensor]]:
    jobs = [Job(made, Here(seed=seed)) for seed in range(3)]
    ended = {item.job.context.seed: item.result for item in train.run_array(jobs, Hardware(slots=slots))}
    results = [ended[seed] for seed in range(3)]
    assert all(isinstance(result, Result) for result in results), results
    return [dict(result.weights) for result in results]  # pyright: ignore


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_each_network_of_an_array_is_attacked_as_it_would_be_alone(mode: Any):
    made = config(adversary=PGD(epsilon=8 / 255, step=2 / 255, steps=3, mode=mode))
    for alone, together in zip(weights(made, 1), weights(made, 3), strict=True):
        assert all(torch.allclose(alone[name], together[name], rtol=0, atol=1e-9) for name in alone)


def test_a_full_batch_is_attacked_alike_in_blocks_and_at_once(monkeypatch: pytest.MonkeyPatch):
    made = config(model=Conv4(width=2), batch_size="full")
    whole = weights(made, 1)
    monkeypatch.setattr(step, "BLOCK", 7)
    for blocks, once in zip(weights(made, 3), whole, strict=True):
        assert all(torch.allclose(blocks[name], once[name], rtol=0, atol=1e-9) for name in once)


def test_the_attack_and_its_mode_matter():
    plain, attacked = weights(config(adversary=None), 1)[0], weights(config(), 1)[0]
    assert not torch.allclose(plain["0.weight"], attacked["0.weight"])
    in_eval = config(adversary=PGD(epsilon=8 / 255, step=2 / 255, steps=3, mode="eval"))
    # in train mode the running statistics also saw what the attack tried: four forward passes a step for one
    assert weights(in_eval, 1)[0]["1.num_batches_tracked"] == attacked["1.num_batches_tracked"]
    assert not torch.allclose(weights(in_eval, 1)[0]["1.running_mean"], attacked["1.running_mean"])


def test_impossible_attacks_are_refused():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        PGD(epsilon=8.0, step=2.0, steps=7)
    assert PGD.model_validate_json('{"epsilon": "8/255", "step": "2/255", "steps": 7}').epsilon == 8 / 255
