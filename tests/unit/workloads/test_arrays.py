"""Arrays train as their networks would by themselves: against a plain PyTorch loop, in float64, to 1e-9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contract.here import Here
from tests.unit.workloads import plain_training
from tests.unit.workloads.plain_training import Tiny
from workloads import train
from workloads.arrays.kinds import kind
from workloads.arrays.layers import twin
from workloads.arrays.network import Network
from workloads.contract import Ended, Hardware, Job, Result
from workloads.losses import CrossEntropy, Exponential, Square
from workloads.models import (
    MLP,
    VGG16,
    AllConvolutional,
    Conv4,
    DenseNet40,
    MobileNetV2,
    Model,
    NTKConvNet,
    ResNet18,
    ResNet20Fixup,
    ResNet50,
    SmallAlexNet,
    SmallInception,
    VGGGeneralization,
    WideResNet,
)  # fmt: skip
from workloads.optimizers import SGD, Group, Langevin, Optimizer
from workloads.regularizers import NormBias
from workloads.schedules import Multistep
from workloads.train import Stop, TrainConfig

OPTIONS = ("ragged", "batch_norm", "augment", "dropout", "momentum", "norm_bias")
PAIRWISE = [
    (False,) * 6, (True,) * 6, (True, True, True, False, False, False), (True, False, False, True, True, False),
    (False, True, False, True, False, True), (False, False, True, False, True, True),
]  # fmt: skip
NARROW: list[tuple[Model, int]] = [
    (AllConvolutional(width=2), 32),
    (NTKConvNet(width=1), 32),
    (SmallAlexNet(width=2), 8),
    (SmallInception(width=6), 8),
    (VGG16(width=2), 32),
    (VGGGeneralization(width=2, variant="paper"), 32),
    (VGGGeneralization(width=2, variant="code"), 32),
    (ResNet18(width=2), 16),
    (ResNet50(width=2), 32),
    (ResNet20Fixup(), 8),
    (WideResNet(), 8),
    (DenseNet40(), 8),
    (MobileNetV2(), 16),
]


def make(**fields: Any) -> TrainConfig:
    """A config with images that no shipped data set has, so without validation."""
    plain = TrainConfig.model_construct(data=Tiny(), optimizer=SGD(lr=0.05), batch_size=16, precision="fp64",
                                        stop=Stop(epochs=4))  # fmt: skip
    return plain.model_copy(update=fields)


def run(configs: Sequence[TrainConfig], slots: int) -> list[Ended]:
    """All of them through so many slots; in the order of the configs, whose places are their seeds."""
    jobs = [Job(config, Here(seed=seed)) for seed, config in enumerate(configs)]
    ended = {id(item.job): item for item in train.run_array(jobs, Hardware(slots=slots))}
    return [ended[id(job)] for job in jobs]


def made(ended: Ended) -> Result:
    assert isinstance(ended.result, Result), ended.result
    return ended.result


def far(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max((first[name].double() - second[name].double()).abs().max().item() for name in first)


def compare(configs: Sequence[TrainConfig], sizes: Sequence[int], tolerance: float = 1e-9) -> None:
    expected = [plain_training.train(config, seed) for seed, config in enumerate(configs)]
    for size in sizes:
        for ended, config, (state, curve) in zip(run(configs, size), configs, expected, strict=True):
            result = made(ended)
            assert result.weights is not None
            assert result.metrics["epochs"] == config.stop.epochs
            assert far(result.weights, state) < tolerance, size
            rows = ended.job.context.rows  # pyright: ignore[reportAttributeAccessIssue]
            assert [row["train_loss"] for row in rows] == pytest.approx(curve, abs=tolerance)
            assert 1 <= ended.array <= min(size, len(configs))


def test_the_options_below_are_pairwise():
    for first, second in combinations(range(len(OPTIONS)), 2):
        assert {(row[first], row[second]) for row in PAIRWISE} == set(product([False, True], repeat=2))


@pytest.mark.parametrize("chosen", PAIRWISE, ids=lambda row: "".join(str(int(on)) for on in row))
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_an_array_equals_single_trainings(kind: str, chosen: tuple[bool, ...]):
    on = dict(zip(OPTIONS, chosen, strict=True))
    shared: dict[str, Any] = {"batch_norm": on["batch_norm"], "dropout": 0.3 if on["dropout"] else 0.0}
    model = MLP(width=8, depth=2, **shared) if kind == "mlp" else Conv4(width=2, **shared)
    configs = [
        make(
            model=model,
            data=Tiny(count=60, subset=40, augment="crop_flip" if on["augment"] else "none",
                      labels=("true", "random")[seed % 2], zero_out=0.1 * (seed % 3)),
            optimizer=SGD(lr=0.02 + 0.01 * seed, momentum=0.1 * seed if on["momentum"] else 0.0,
                          weight_decay=0.01 * (seed % 3)),
            regularizer=NormBias(mu2=5.0 + seed, weight=0.01 * (seed + 1)) if on["norm_bias"] else None,
            schedule=Multistep(milestones=(2,), gamma=0.5),
            stop=Stop(epochs=(4, 2, 3, 5)[seed % 4] if on["ragged"] else 4),
        )
        for seed in range(8)
    ]  # fmt: skip
    compare(configs, (1, 3, 8))


@pytest.mark.parametrize(("model", "side"), NARROW, ids=lambda value: getattr(value, "name", str(value)))
def test_every_model_trains_in_an_array(model: Model, side: int):
    configs = [
        make(model=model, data=Tiny(side=side, count=12), batch_size=8, stop=Stop(epochs=5),
             optimizer=SGD(lr=2e-5 * (seed + 1), momentum=0.5))  # far steps multiply what rounding differs in
        for seed in range(2)
    ]  # fmt: skip
    compare(configs, (2,))


@pytest.mark.parametrize("loss", [CrossEntropy(), Square(), Exponential()], ids=lambda loss: loss.name)
def test_every_loss(loss: Any):
    model = MLP(width=8, depth=1)
    compare([make(model=model, loss=loss, optimizer=SGD(lr=1e-3)) for _ in range(3)], (3,))


def test_gradient_descent_in_blocks_is_gradient_descent(monkeypatch: pytest.MonkeyPatch):
    from workloads.training import step

    configs = [make(model=Conv4(width=2), batch_size="full", stop=Stop(epochs=10)) for _ in range(3)]
    compare(configs, (3,))
    dropping = [make(model=MLP(width=8, depth=1, dropout=0.5), batch_size="full") for _ in range(3)]
    monkeypatch.setattr(step, "BLOCK", 7)
    compare(configs, (1, 3))
    compare(dropping, (1, 3))  # an image's mask does not depend on its block


GROUPS = (Group(match="bias", lr=0.1, weight_decay=0.0),)


@pytest.mark.parametrize("batch_size", [16, "full"])
@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(lr=0.05),
        SGD(lr=0.05, weight_decay=0.1),
        SGD(lr=0.05, weight_decay=0.1, groups=GROUPS),
        SGD(lr=0.05, momentum=0.9, weight_decay=0.1, groups=GROUPS),
        Langevin(lr=0.05, momentum=0.5, noise=0.01),
    ],
    ids=["plain", "decay", "groups", "all", "noise"],
)
def test_gradients_in_pieces_move_the_weights_to_the_same_bits(
    optimizer: Optimizer, batch_size: Any, monkeypatch: pytest.MonkeyPatch
):
    """Whether those of large parameters stay apart or all are put into one tensor."""
    from workloads.arrays import network
    from workloads.training import step

    monkeypatch.setattr(step, "BLOCK", 7)
    made_so = make(model=Conv4(width=2), optimizer=optimizer, batch_size=batch_size, stop=Stop(epochs=2))
    found = []
    for apart in (0, 1 << 60):
        monkeypatch.setattr(network, "APART", apart)
        found.append([made(ended).weights or {} for ended in run([made_so] * 3, 3)])
    for one, other in zip(*found, strict=True):
        assert one
        assert far(one, other) == 0


def test_bf16_drops_as_often_as_it_should():
    """Draws rounded to bf16 would be 1/2 and more in 0.50072 of all cases."""
    network = Network(lambda: nn.Sequential(nn.Dropout(0.5)), 2, "cpu", torch.float32)
    network.train()
    kept = [network.logits(torch.ones(2, 1_000_000, 1, dtype=dtype)) > 0 for dtype in (torch.bfloat16, torch.float32)]
    assert torch.equal(*kept)


def test_single_precision_stays_within_its_rounding():
    configs = [make(model=Conv4(width=2, batch_norm=True), precision="fp32") for _ in range(4)]
    expected = [plain_training.train(config, seed)[0] for seed, config in enumerate(configs)]
    for ended, state in zip(run(configs, 4), expected, strict=True):
        result = made(ended)
        assert result.weights is not None
        assert 0 < far(result.weights, state) < 1e-4
        assert all(item.dtype != torch.float64 for item in result.weights.values())


def test_parameter_groups_have_rates_and_decays_of_their_own():
    groups = (Group(match="weight", lr=0.1), Group(match="1.bias", lr=0.0, weight_decay=0.0))
    config = make(model=MLP(width=8, depth=1), optimizer=SGD(lr=0.1, weight_decay=0.1, groups=groups),
                  batch_size="full", stop=Stop(epochs=1))  # fmt: skip
    alike = make(model=MLP(width=8, depth=1), optimizer=SGD(lr=0.1, weight_decay=0.1), batch_size="full",
                 stop=Stop(epochs=1))  # fmt: skip
    for (first, second), size in product([(config, alike)], (1, 2)):
        grouped, plain = made(run([first] * 2, size)[1]), made(run([second] * 2, size)[1])
        assert isinstance(grouped.start, Mapping)
        assert grouped.weights is not None
        assert plain.weights is not None
        for name, start in grouped.start.items():
            times = 0.0 if name == "1.bias" else 0.1 if "weight" in name else 1.0
            expected = start.double() + times * (plain.weights[name] - start.double())
            assert torch.allclose(grouped.weights[name], expected, rtol=0, atol=1e-12), name


def test_langevin_noise_is_the_networks_own_and_has_its_power():
    def moved(size: int, seeds: int, noise: float) -> list[Tensor]:
        config = make(model=MLP(width=30, depth=2), optimizer=Langevin(lr=1e-12, noise=noise), stop=Stop(epochs=4))
        results = [made(ended) for ended in run([config] * seeds, size)]
        return [
            torch.cat([(result.weights[name] - start).flatten() for name, start in result.start.items()])  # pyright: ignore
            for result in results
        ]

    alone, together = moved(1, 4, 0.1), moved(4, 4, 0.1)
    for first, second in zip(alone, together, strict=True):
        assert torch.allclose(first, second, rtol=0, atol=1e-12)
        assert first.std().item() == pytest.approx(0.1 * 12**0.5, rel=0.03), "twelve steps"
    assert torch.corrcoef(torch.stack(alone[:2]))[0, 1].abs().item() < 0.05
    assert max(item.abs().max().item() for item in moved(2, 2, 0.0)) < 1e-9


def test_networks_that_diverge_or_fail_leave_their_neighbours_alone():
    good = make(model=MLP(width=8, depth=1))
    wild = good.model_copy(update={"optimizer": SGD(lr=1e300)})
    broken = good.model_copy(update={"data": Tiny(subset=10_000)})
    other = good.model_copy(update={"data": Tiny(count=30)})
    ended = run([good, wild, broken, good, other], 5)
    assert [type(item.result) for item in ended] == [Result, Result, ValueError, Result, ValueError]
    assert made(ended[1]).outcome == "diverged"
    assert made(ended[1]).metrics["epochs"] < 4
    for seed in (0, 3):
        result = made(ended[seed])
        assert result.outcome == "done"
        assert result.weights is not None
        assert far(result.weights, plain_training.train(good, seed)[0]) < 1e-9


def test_what_differs_in_an_array_and_what_does_not():
    base = make(model=MLP(width=8, depth=1))
    same: list[dict[str, Any]] = [
        {"optimizer": SGD(lr=1.0, momentum=0.5, weight_decay=1.0)}, {"stop": Stop(epochs=9, loss=0.1)},
        {"schedule": Multistep(milestones=(1,))}, {"data": Tiny(labels="random", zero_out=0.5)},
    ]  # fmt: skip
    other: list[dict[str, Any]] = [
        {"model": MLP(width=9, depth=1)}, {"batch_size": 8}, {"data": Tiny(subset=20)}, {"data": Tiny(normalize=False)},
        {"precision": "fp32"}, {"regularizer": NormBias(mu2=1.0, weight=1.0)}, {"threads": 2},
        {"optimizer": Langevin(lr=0.05, noise=0.0)},
    ]  # fmt: skip
    assert all(kind(base.model_copy(update=fields)) == kind(base) for fields in same)
    assert all(kind(base.model_copy(update=fields)) != kind(base) for fields in other)


def test_layers_without_a_twin_are_refused():
    with pytest.raises(TypeError, match="LayerNorm: no array twin"):
        twin(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), 3)
    with pytest.raises(TypeError, match="Softmax"):
        twin(nn.Sequential(nn.Softmax(1)), 3)
