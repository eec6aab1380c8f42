"""Starts that lead into bad minima, He's, and lemma 1: each against its closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.contract.here import Finished, Here
from workloads import train
from workloads.contract import Hardware, Job, Result
from workloads.datasets import Digits
from workloads.models import MLP, ResNet18
from workloads.models.base import Network
from workloads.models.residual import ResNet20Fixup
from workloads.optimizers import SGD
from workloads.starts import BiasOffset, BiasUniform, FromStage, He, Initialization, Lemma1, Zero
from workloads.starts.affine import embed
from workloads.train import Stop, TrainConfig

PAPER = MLP(widths=(2048, 2048, 1024))
CIFAR = (3, 32, 32)


def started(start: Any, model: Network, seed: int = 0, shape: tuple[int, int, int] = (1, 8, 8)) -> nn.Module:
    network = model.build(shape, 10)
    start.apply(network, seed)
    return network


def parameters(start: Any, model: Network, seed: int = 0) -> dict[str, Tensor]:
    return dict(started(start, model, seed).named_parameters())


# --- He -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("law", "reach"), [("uniform", math.sqrt(3)), ("normal", None)])
def test_he_has_variance_two_over_fan_in_and_no_biases(law: Any, reach: float | None):
    for name, item in parameters(He(law=law), MLP(width=400, depth=2)).items():
        if name.endswith("bias"):
            assert not item.any()
            continue
        std = math.sqrt(2 / item.shape[1])
        assert item.std().item() == pytest.approx(std, rel=0.03)
        largest = item.abs().max().item() / std
        assert (largest <= reach * (1 + 1e-6)) if reach else largest > 3


@pytest.mark.parametrize(
    ("start", "model", "squared"),
    [(Initialization(), PAPER, 1710), (He(), PAPER, 10_259), (He(law="normal"), MLP(width=2048, depth=3), 12_312)],
)
def test_squared_norms_of_the_papers_network(start: Any, model: Network, squared: float):
    network = started(start, model, shape=CIFAR)
    total = sum(item.double().square().sum().item() for item in network.parameters())
    assert total == pytest.approx(squared, rel=0.01)


def test_he_sets_what_a_network_states_otherwise_and_leaves_the_rest():
    he, default = parameters(He(), ResNet20Fixup(width=16)), parameters(Initialization(), ResNet20Fixup(width=16))
    for name, item in he.items():
        if item.dim() == 4:
            assert item.std().item() == pytest.approx(math.sqrt(2 / item[0].numel()), rel=0.2), name
        elif item.numel() == 1:
            assert torch.equal(item, default[name])
    resnet = parameters(He(), ResNet18(width=4))
    assert all(bool((resnet[name] == 1).all()) for name in resnet if name.endswith("bn1.weight"))


# --- zero -----------------------------------------------------------------------------------------------------------


def bias_gradient(model: Network, labels: Tensor) -> dict[str, Tensor]:
    """Of the mean cross-entropy in float64 at the zero start, batch norm in train mode; all gradients by name."""
    network = started(Zero(), model).double().train()
    assert not any(item.any() for item in network.parameters())
    images = torch.randn(len(labels), 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(network(images), labels)
    assert loss.item() == pytest.approx(math.log(10), abs=1e-12)
    loss.backward()
    return {name: item.grad for name, item in network.named_parameters() if item.grad is not None}


@pytest.mark.parametrize("model", [MLP(width=8, depth=3), ResNet18(width=2)])
def test_at_zero_only_the_last_bias_has_a_gradient_and_it_is_the_imbalance(model: Network):
    balanced = torch.arange(10).repeat(6)
    *others, (last, gradient) = bias_gradient(model, balanced).items()
    assert last.endswith("bias")
    assert gradient.abs().max().item() < 1e-15, "equal classes: nothing pulls"
    assert not any(item.any() for _, item in others)
    dropped = balanced[torch.randperm(60, generator=torch.Generator().manual_seed(1))[:48]]
    *others, (_, gradient) = bias_gradient(model, dropped).items()
    frequency = torch.bincount(dropped, minlength=10) / 48
    assert torch.allclose(gradient, 0.1 - frequency.double(), rtol=0, atol=1e-7)
    assert gradient.norm().item() > 0.01
    assert not any(item.any() for _, item in others)


def test_a_dropped_batch_explains_the_published_gradient_at_zero():
    """49,920 of 50,000 shuffled balanced labels: 1.7e-4, of the order of table 2's 0.00025."""
    labels = torch.arange(10).repeat(5000)
    norms = []
    for seed in range(40):
        kept = labels[torch.randperm(50_000, generator=torch.Generator().manual_seed(seed))[:49_920]]
        norms.append((0.1 - torch.bincount(kept, minlength=10).double() / 49_920).norm().item())
    mean = sum(norms) / len(norms)
    assert mean == pytest.approx(1.7e-4, abs=0.2e-4)


def test_training_from_zero_keeps_all_but_the_last_bias_at_zero():
    config = TrainConfig(
        data=Digits(), model=ResNet18(width=2), start=Zero(), optimizer=SGD(lr=0.1, momentum=0.9), batch_size=400,
        stop=Stop(epochs=2),
    )  # fmt: skip
    result = train.run(config, Here())
    assert result.weights is not None
    moved = {name for name, item in result.weights.items() if "running" not in name and item.is_floating_point()
             and item.any()}  # fmt: skip
    assert moved == {"2.2.bias"}
    assert result.metrics["train_loss"] == pytest.approx(math.log(10), abs=0.01)


# --- biases ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["default", "he_uniform", "he_normal"])
@pytest.mark.parametrize("model", [MLP(width=50, depth=2), ResNet18(width=4)])
def test_an_offset_is_added_to_every_bias_and_to_nothing_else(model: Network, weights: Any):
    plain = Initialization() if weights == "default" else He(law=weights.removeprefix("he_"))
    before, after = parameters(plain, model), parameters(BiasOffset(offset=20.0, weights=weights), model)
    shifted = {name for name in before if not torch.equal(before[name], after[name])}
    assert shifted == {name for name in before if name.endswith("bias")}
    assert all(torch.equal(after[name], before[name] + 20) for name in shifted)
    assert [*before][-1] in shifted, "the output layer's too"


def test_uniform_biases_replace_what_there_was():
    model = MLP(width=2000, depth=2)
    before, after = parameters(BiasOffset(offset=0.0), model), parameters(BiasUniform(bound=50.0), model)
    for name, item in after.items():
        if name.endswith("weight"):
            assert torch.equal(item, before[name])
        else:
            assert item.abs().max().item() <= 50
    pooled = torch.cat([after["1.bias"], after["3.bias"]])
    assert pooled.std().item() == pytest.approx(50 / math.sqrt(3), rel=0.03)
    assert pooled.abs().max().item() > 49
    assert torch.corrcoef(torch.stack([after["1.bias"], after["3.bias"]]))[0, 1].abs().item() < 0.1
    again, other = (parameters(BiasUniform(bound=50.0), model, seed)["1.bias"] for seed in (0, 1))
    assert torch.equal(again, after["1.bias"])
    assert not torch.equal(other, after["1.bias"])


# --- lemma 1 --------------------------------------------------------------------------------------------------------


def affine(rank: int, inputs: int = 48, classes: int = 10) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(rank)
    left, right = (
        torch.randn(*shape, dtype=torch.float64, generator=stream) for shape in ((classes, rank), (rank, inputs))
    )
    return left @ right, torch.randn(classes, dtype=torch.float64, generator=stream)


@pytest.mark.parametrize(("rank", "widths"), [(10, (10,)), (10, (64, 32, 11)), (3, (4, 40, 3)), (1, (1, 1))])
def test_lemma1_is_exact_with_positive_activations(rank: int, widths: tuple[int, ...]):
    weight, bias = affine(rank)
    images = torch.randint(256, (2100, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    network = MLP(widths=widths).build((3, 4, 4), 10).double()
    with torch.no_grad():
        embed(network, weight, bias, images, mean, std)
        center, spread = (torch.tensor(item, dtype=torch.float64).view(3, 1, 1) for item in (mean, std))
        x = (images.double() / 255 - center) / spread
        outputs, activations = x, []
        for layer in network.children():
            outputs = layer(outputs)
            if isinstance(layer, nn.ReLU):
                activations.append(outputs.min().item())
        assert (outputs - (x.flatten(1) @ weight.T + bias)).abs().max().item() < 1e-12
    assert len(activations) == len(widths)
    assert min(activations) >= 1 - 1e-9, "c is the largest value plus 1"
    first = network.get_submodule("1")
    assert isinstance(first, nn.Linear)
    reached = (x.flatten(1) @ first.weight.double().T).abs().max().item()
    assert first.bias.max().item() == pytest.approx(reached + 1, rel=1e-12)


def test_lemma1_refuses_a_layer_narrower_than_the_rank():
    weight, bias = affine(5)
    network = MLP(widths=(20, 4)).build((3, 4, 4), 10)
    with pytest.raises(ValueError, match="rank 5 in a hidden layer of 4"):
        embed(network, weight, bias, torch.zeros(2, 3, 4, 4, dtype=torch.uint8), (0.0,) * 3, (1.0,) * 3)


def linear() -> tuple[TrainConfig, Result]:
    config = TrainConfig(
        data=Digits(subset=300), model=MLP(depth=0), optimizer=SGD(lr=0.5), batch_size="full", stop=Stop(epochs=200)
    )
    return config, train.run(config, Here())


def embedded(start: Any = None, epochs: int = 0, **options: Any) -> TrainConfig:
    return TrainConfig(
        data=Digits(subset=300), model=MLP(width=24, depth=3), start=start or Lemma1.model_validate({"from": "start"}),
        optimizer=SGD(lr=1e-4), stop=Stop(epochs=epochs), **options,
    )  # fmt: skip


def test_a_training_begins_at_the_linear_loss_and_stays_there():
    below, finished = linear()
    context = Here(inputs={"start": Finished(below, finished)})
    result = train.run(train.resolve(embedded(), {"start": below}), context)
    assert result.metrics["train_loss"] == pytest.approx(finished.metrics["train_loss"], rel=1e-5)
    assert result.metrics["train_accuracy"] == finished.metrics["train_accuracy"]
    assert isinstance(result.start, dict), "a start of its own, that no other node keeps"
    later = train.run(train.resolve(embedded(epochs=20), {"start": below}), context)
    assert later.metrics["train_loss"] == pytest.approx(finished.metrics["train_loss"], abs=0.01)
    assert later.metrics["train_loss"] < finished.metrics["train_loss"]


def test_starts_of_all_kinds_train_in_one_array():
    below, finished = linear()
    starts: list[Any] = [
        None, Initialization(), He(), Zero(), BiasOffset(offset=2.0), BiasUniform(bound=3.0),
    ]  # fmt: skip
    configs = [train.resolve(embedded(start, 2), {"start": below}) for start in starts]
    assert len({train.array_key(config) for config in configs}) == 1
    jobs = [Job(config, Here(inputs={"start": Finished(below, finished)})) for config in configs]
    together = {id(ended.job): ended for ended in train.run_array(jobs, Hardware(slots=3))}
    for job in jobs:
        ended = together[id(job)]
        assert isinstance(ended.result, Result)
        assert ended.array == 3
        alone = train.run(job.config, Here(inputs={"start": Finished(below, finished)}))
        assert ended.result.metrics["train_loss"] == pytest.approx(alone.metrics["train_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("model", "theirs", "message"),
    [
        (MLP(width=16), MLP(width=8, depth=1), "wants a linear model"),
        (MLP(depth=0), MLP(depth=0), "an mlp with hidden layers"),
        (ResNet18(), MLP(depth=0), "an mlp with hidden layers"),
        (MLP(batch_norm=True), MLP(depth=0), "without batch_norm"),
    ],
)
def test_lemma1_refuses_other_networks(model: Any, theirs: Any, message: str):
    ours = embedded().model_copy(update={"model": model})
    with pytest.raises(ValueError, match=message):
        train.resolve(ours, {"start": embedded(Initialization()).model_copy(update={"model": theirs})})


def test_a_start_from_a_stage_still_needs_its_model():
    ours = embedded(FromStage.model_validate({"from": "start"}))
    with pytest.raises(ValueError, match="is not the model of the stage"):
        train.resolve(ours, {"start": embedded(Initialization()).model_copy(update={"model": MLP(width=8)})})
