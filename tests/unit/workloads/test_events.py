"""Events: what they do to a real training, when, and how they add up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

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
        (lambda: Record(measures=()), "at least 1"),
    ],
)
def test_impossible_events_are_refused(make: Any, message: str):
    with pytest.raises(ValidationError, match=message):
        make()
