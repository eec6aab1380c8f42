"""Events: what they do to a real training, when, and how they add up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import parameters_to_vector

from orchestrator.planning.keys import identity
from tests.contract.here import Here
from workloads import train
from workloads.contract import Result
from workloads.datasets import Digits
from workloads.events import Perturb, Project, Record, SwitchData
from workloads.measures import MeasureEntry
from workloads.models import MLP
from workloads.optimizers import SGD
from workloads.train import Stop, TrainConfig


def config(*events: Any, epochs: int = 4, lr: float = 1e-30) -> TrainConfig:
    """With a rate that moves nothing, what changes is the events' doing."""
    return TrainConfig(
        data=Digits(subset=60), model=MLP(width=100), optimizer=SGD(lr=lr), batch_size=20, precision="fp64",
        stop=Stop(epochs=epochs), events=tuple(events),
    )  # fmt: skip


def run(made: TrainConfig, seed: int = 0) -> tuple[dict[str, torch.Tensor], Result, list[dict[str, float]]]:
    """How far each parameter has moved, the result, and the history."""
    context = Here(seed=seed)
    result = train.run(made, context)
    assert isinstance(result.start, dict)
    assert result.weights is not None
    return {name: result.weights[name] - result.start[name].double() for name in result.start}, result, context.rows


def norm(result: Result) -> float:
    assert result.weights is not None
    return math.sqrt(sum(item.square().sum().item() for item in result.weights.values()))


def test_perturb_adds_noise_of_its_std_when_it_is_due():
    moved, _, _ = run(config(Perturb(every=1, std=0.1)))
    assert moved["3.weight"].std().item() == pytest.approx(0.1 * 2, rel=0.05), "four times"
    once, _, _ = run(config(Perturb(every=2, first=3, std=0.1), epochs=5))
    assert once["3.weight"].std().item() == pytest.approx(0.1, rel=0.05), "after the fourth alone"
    ended, _, _ = run(config(Perturb(every=1, last=1, std=0.1)))
    assert ended["3.weight"].std().item() == pytest.approx(0.1, rel=0.05)


def test_relative_perturbation_looks_at_each_tensor_each_time():
    moved, result, _ = run(config(Perturb(every=1, relative=1.0), epochs=3))
    assert result.weights is not None
    for name in ("1.weight", "3.weight"):
        start = (result.weights[name] - moved[name]).std()
        assert (result.weights[name].std() / start).item() == pytest.approx(math.sqrt(2) ** 3, rel=0.1)


def test_a_parameters_noise_is_its_own():
    first, again, other = (run(config(Perturb(every=4, std=0.1)), seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first["3.weight"], again["3.weight"])
    noises = torch.stack([first["3.weight"].flatten(), other["3.weight"].flatten()])
    assert torch.corrcoef(noises)[0, 1].abs().item() < 0.05
    assert torch.corrcoef(torch.stack([first["1.bias"], first["3.bias"]]))[0, 1].abs().item() < 0.3


def test_perturbations_after_one_epoch_are_independent_and_the_key_says_so():
    """Variances add up: the same noise twice would have twice the deviation."""
    first, second = Perturb(every=2, std=0.1), Perturb(every=2, first=4, std=0.1)
    twice, alone = config(first, Perturb(every=2, std=0.1), epochs=2), config(first, epochs=2)
    moved, once = run(twice)[0]["3.weight"], run(alone)[0]["3.weight"]
    assert moved.std().item() == pytest.approx(0.1 * math.sqrt(2), rel=0.05)
    assert torch.corrcoef(torch.stack([(moved - once).flatten(), once.flatten()]))[0, 1].abs().item() < 0.1
    assert identity(twice, Path())["VERSION"] == 2
    assert "VERSION" not in identity(alone, Path())
    apart = config(first, second, epochs=3)
    assert "VERSION" not in identity(apart, Path()), "nothing changes where they never meet"
    assert identity(apart.model_copy(update={"stop": Stop(epochs=4)}), Path())["VERSION"] == 2


@dataclass
class Standing:
    """A network that stands still after `epoch` epochs, as an event sees it."""

    network: nn.Module
    epoch: int
    context: Here

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach() for name, tensor in self.network.named_parameters()}

    def generator(self, purpose: str) -> torch.Generator:
        return self.context.generator(purpose, self.epoch)


def perturbed(event: Perturb, network: nn.Module, epoch: int = 1) -> dict[str, torch.Tensor]:
    """What the event adds, in float64."""
    before = {name: tensor.detach().clone() for name, tensor in network.double().named_parameters()}
    trainee: Any = Standing(network, epoch, Here())
    event.apply(trainee)
    return {name: tensor - before[name] for name, tensor in trainee.parameters.items()}


def test_the_noise_of_a_parameter_depends_on_its_name_and_epoch_alone():
    event = Perturb(every=1, std=0.1)
    few = perturbed(event, nn.ModuleDict({"b": nn.Linear(3, 4)}))
    more = perturbed(event, nn.ModuleDict({"a": nn.Linear(7, 7), "b": nn.Linear(3, 4)}))
    later = perturbed(event, nn.ModuleDict({"b": nn.Linear(3, 4)}), epoch=2)
    for name, noise in few.items():
        drawn = torch.randn(noise.shape, generator=Here().generator(f"perturb:{name}", 1), dtype=torch.float64)
        assert torch.allclose(noise, 0.1 * drawn, rtol=0, atol=1e-15)
        assert torch.allclose(more[name], noise, rtol=0, atol=1e-15)
        assert not torch.allclose(later[name], noise)


def test_relative_noise_is_in_units_of_each_tensors_own_standard_deviation():
    network = nn.Linear(50, 60).double()
    with torch.no_grad():
        network.bias.fill_(3.0)
    deviation = (network.weight - network.weight.mean()).square().mean().sqrt().item()
    noise = perturbed(Perturb(every=1, relative=0.25), network)
    drawn = torch.randn(60, 50, generator=Here().generator("perturb:weight", 1), dtype=torch.float64)
    assert torch.allclose(noise["weight"], 0.25 * deviation * drawn, rtol=0, atol=1e-15)
    assert not noise["bias"].any(), "a constant has none"


def test_projection_keeps_the_direction():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    vector = parameters_to_vector(network.parameters()).detach()
    trainee: Any = Standing(network, 1, Here())
    Project(norm=2.5, every=1).apply(trainee)
    assert torch.allclose(parameters_to_vector(network.parameters()), 2.5 * vector / vector.norm(), rtol=1e-12)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.zero_()
    Project(norm=2.5, every=1).apply(trainee)
    assert not parameters_to_vector(network.parameters()).any(), "zero has no direction"


@pytest.mark.parametrize(
    ("event", "epochs"),
    [
        (Perturb(every=100, first=1800, last=2000, std=0.1), [1800, 1900, 2000]),
        (Perturb(every=3, first=4, std=0.1), [*range(6, 7501, 3)]),
        (Project(norm=1.0, at=(2, 6, 11)), [2, 6, 11]),
        (Project(norm=1.0, every=2500), [2500, 5000, 7500]),
        (SwitchData(epoch=7, data=Digits()), [7]),
        (Record(every=3000, measures=(MeasureEntry.model_validate("train_accuracy"),)), [3000, 6000]),
        (Record(at=(1, 2, 7500), measures=(MeasureEntry.model_validate("train_accuracy"),)), [1, 2, 7500]),
    ],
)
def test_when_events_are_due(event: Any, epochs: list[int]):
    assert [epoch for epoch in range(1, 7501) if event.due(epoch)] == epochs


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Project(norm=3.0, every=2), 3.0),
        (Project(norm=300.0, at=(3,)), 300.0),
        (Project(norm=3.0, every=1, onto="ball"), 3.0),
        (Project(norm=300.0, every=1, onto="ball"), None),
        (Project(norm=3.0, at=(5,)), None),
    ],
)
def test_project(event: Project, expected: float | None):
    moved, result, _ = run(config(event))
    if expected is None:
        assert max(item.abs().max().item() for item in moved.values()) < 1e-20
    else:
        assert norm(result) == pytest.approx(expected, rel=1e-12)


def test_events_happen_in_their_order():
    _, last, _ = run(config(Perturb(every=4, std=0.1), Project(norm=3.0, every=4)))
    _, first, _ = run(config(Project(norm=3.0, every=4), Perturb(every=4, std=0.1)))
    assert norm(last) == pytest.approx(3.0, rel=1e-12)
    assert norm(first) > 5


def test_switch_data_trains_on_the_new_data_from_then_on():
    other = Digits(subset=40, labels="random")
    _, result, rows = run(config(SwitchData(epoch=2, data=other), epochs=60, lr=0.5))
    assert result.metrics["train_accuracy"] * 40 == pytest.approx(round(result.metrics["train_accuracy"] * 40)), "of 40"
    plain = run(config(epochs=2, lr=0.5))[2]
    assert [row["train_loss"] for row in rows[:2]] == [row["train_loss"] for row in plain]
    assert rows[2]["train_loss"] > rows[1]["train_loss"]


def test_a_training_taken_up_right_after_the_switch_has_the_new_data():
    event = SwitchData(epoch=2, data=Digits(subset=40, labels="random"))
    whole, context = train.run(config(event, epochs=4, lr=0.1), Here()), Here()
    train.run(config(event, epochs=3, lr=0.1), context)  # nothing is kept after the last epoch
    assert context.kept is not None
    assert context.kept[0].numbers["epoch"] == 2
    resumed = train.run(config(event, epochs=4, lr=0.1), context)
    assert whole.weights is not None
    assert resumed.weights is not None
    assert all(torch.equal(item, resumed.weights[name]) for name, item in whole.weights.items())


def test_record_writes_curves_of_measures():
    names = ("test_accuracy", "parameter_norm", "distance_from_start")
    event = Record(every=2, measures=tuple(MeasureEntry.model_validate(name) for name in names))
    _, result, rows = run(config(event, lr=0.1))
    assert [set(names) <= row.keys() for row in rows] == [False, True, False, True]
    assert rows[3]["parameter_norm"] == pytest.approx(norm(result), rel=1e-6)
    assert 0 < rows[1]["distance_from_start"] < rows[3]["distance_from_start"]
    bare = run(config(lr=0.1))[1]
    assert bare.weights is not None
    assert result.weights is not None
    assert all(torch.equal(item, result.weights[name]) for name, item in bare.weights.items()), "and changes nothing"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Perturb(every=1), "std or relative"),
        (lambda: Perturb(every=1, std=0.1, relative=0.1), "std or relative"),
        (lambda: Project(norm=1.0), "every or at"),
        (lambda: Project(norm=0.0, every=1), "greater than 0"),
        (lambda: Perturb(every=1, first=9, last=3, std=0.1), "first due after epoch 9"),
        (lambda: Perturb(every=5, first=6, last=9, std=0.1), "first due after epoch 10"),
        (lambda: Project(norm=1.0, every=1, at=(1,)), "every or at"),
        (lambda: Project(norm=1.0, at=()), "at names epochs"),
        (lambda: Project(norm=1.0, at=(0, 2)), "at names epochs"),
        (lambda: Project(norm=1.0, at=(5, 5)), "at names epochs"),
        (lambda: Record(measures=()), "at least 1"),
        (lambda: Record.model_validate_json('{"every": 2, "at": [4], "measures": ["train_loss"]}'), "every or at"),
        (lambda: Record.model_validate_json('{"at": [4, 2], "measures": ["train_loss"]}'), "at names epochs"),
        (lambda: Record.model_validate_json('{"measures": ["train_accuracy", "train_accuracy"]}'), "stands twice"),
    ],
)
def test_impossible_events_are_refused(make: Any, message: str):
    with pytest.raises(ValidationError, match=message):
        make()
