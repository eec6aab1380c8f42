"""What holds for every part there is: each is found by itself, so a new one is tested without a line here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contract.here import Finished, Here
from tests.contract.members import members, tag
from workloads import measure, train
from workloads.arrays.kinds import numbers
from workloads.contract import Context, Result
from workloads.datasets import Dataset, Digits
from workloads.measure import MeasureConfig
from workloads.measures import MEASURES, MeasureEntry
from workloads.measures.snapshot import Snapshot
from workloads.models import Model
from workloads.models.branching import DenseNet40, SmallInception
from workloads.models.plain import MLP, VGG16, AllConvolutional, Conv4, NTKConvNet, SmallAlexNet, VGGGeneralization
from workloads.models.residual import MobileNetV2, ResNet18, ResNet20Fixup, ResNet50, WideResNet
from workloads.optimizers import SGD, Optimizer
from workloads.optimizers.descent import Move
from workloads.schedules import Progress, Schedule
from workloads.starts import Start
from workloads.train import Stop, TrainConfig

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL: dict[str, Any] = {
    "mlp": MLP(width=8, depth=1),
    "conv4": Conv4(width=2),
    "all_convolutional": AllConvolutional(width=4),
    "ntk_convnet": NTKConvNet(width=2),
    "small_alexnet": SmallAlexNet(width=2),
    "small_inception": SmallInception(width=6),
    "vgg16": VGG16(width=2),
    "vgg_generalization": VGGGeneralization(width=2),
    "resnet18": ResNet18(width=2),
    "resnet50": ResNet50(width=1),
    "resnet20_fixup": ResNet20Fixup(width=2),
    "wide_resnet": WideResNet(depth=10, width=1),
    "densenet40": DenseNet40(growth=1),
    "mobilenet_v2": MobileNetV2(width=4),
}


MODELS = [tag(kind) for kind in members(Model)]
TESTED = 60  # test images that measures look at: attacks take long
FEWER: dict[str, dict[str, int]] = {f"{end}_hessian_eigenvalue": {"products": 20} for end in ("largest", "smallest")}
"""Options of measures that take long without them."""


def recipe(model: str = "mlp", epochs: int = 2, **options: Any) -> TrainConfig:
    return TrainConfig(
        data=Digits(subset=40, confusion=10), model=SMALL[model], optimizer=SGD(lr=0.05, momentum=0.5),
        batch_size=16, stop=Stop(epochs=epochs), **options,
    )  # fmt: skip


def state(result: Result) -> dict[str, torch.Tensor]:
    assert result.weights is not None
    return dict(result.weights)


def equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@cache
def trained(model: str) -> tuple[TrainConfig, Result]:
    made = recipe(model)
    return made, train.run(made, Here())


def snapshot(model: str) -> Snapshot:
    made, result = trained(model)
    data = made.data.clean().load(Path(), 0)
    network = SMALL[model].build(data.shape, data.classes)
    network.load_state_dict(state(result))
    data = replace(data, test_x=data.test_x[:TESTED], test_y=data.test_y[:TESTED])
    return Snapshot(network.eval().requires_grad_(False), Finished(made, result).start(), data, "cpu")


def look(name: str, at: Snapshot) -> float:
    """Measures that compare networks compare this one with itself."""
    entry = MeasureEntry.model_validate({"name": name} | FEWER.get(name, {}))
    return entry(*[at] * len(entry.roles))


@cache
def together(model: str) -> dict[str, float]:
    """All measures of one snapshot, the last first: each finds what those after it have kept."""
    looked_at = snapshot(model)
    return {name: look(name, looked_at) for name in reversed(IMAGES) if (name, model) not in UNFIT}


BY_ROLES: dict[tuple[str, ...], list[str]] = {}
for measure_name, found_measure in MEASURES.items():
    if measure_name != "geometric_margin":
        BY_ROLES.setdefault(found_measure.roles, []).append(measure_name)


# --- measures -------------------------------------------------------------------------------------------------------


IMAGES = [name for name in MEASURES if name != "geometric_margin"]
"""What can be measured on images; the other one wants points in the plane, and says so."""


UNFIT = {("effective_rank", "mlp"), ("mean_effective_rank", "mlp")}  # it has no convolution
LOOKED = [(name, model) for name in IMAGES for model in MODELS if (name, model) not in UNFIT]


@pytest.mark.parametrize(("name", "model"), sorted(UNFIT))
def test_a_measure_says_what_it_cannot_look_at(name: str, model: str):
    with pytest.raises(ValueError, match="the network has no"):
        look(name, snapshot(model))


@pytest.mark.parametrize(("name", "model"), LOOKED)
def test_a_measure_is_finite_repeatable_and_changes_nothing(name: str, model: str):
    looked_at = snapshot(model)
    weights = {key: tensor.clone() for key, tensor in looked_at.model.state_dict().items()}
    images = looked_at.data.train_x.clone(), looked_at.data.test_x.clone()
    value = look(name, looked_at)
    assert isinstance(value, float)
    assert math.isfinite(value)
    assert look(name, looked_at) == value
    assert together(model)[name] == value, "what other measures looked at first does not matter"
    assert equal(looked_at.model.state_dict(), weights)
    assert torch.equal(looked_at.data.train_x, images[0])
    assert torch.equal(looked_at.data.test_x, images[1])
    assert not any(module.training for module in looked_at.model.modules())
    assert all(item.grad is None and not item.requires_grad for item in looked_at.model.parameters())


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_says_what_it_is(name: str):
    found = MEASURES[name]
    assert found.function.__doc__
    assert found.source
    assert found.unit
    assert found.convention
    assert MeasureEntry.model_validate(name).part_version == found.version >= 1


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", members(Model), ids=tag)
def test_a_model_is_a_value_that_builds_and_runs(kind: type[Any]):
    assert tag(kind) in SMALL, "give the new model a small instance for these tests"
    config = SMALL[tag(kind)]
    assert kind.model_validate_json(config.model_dump_json()) == config
    shape, classes = (3, 32, 32), 7
    first, again, other = (config.build(shape, classes) for _ in range(3))
    for module, seed in ((first, 0), (again, 0), (other, 1)):
        train.Initialization().apply(module, seed)
    assert equal(first.state_dict(), again.state_dict())
    assert not equal(first.state_dict(), other.state_dict())
    assert first.eval()(torch.zeros(2, *shape)).shape == (2, classes)
    assert all(bool(tensor.isfinite().all()) for tensor in first.state_dict().values())


# --- optimizers and schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", members(Optimizer), ids=tag)
def test_an_optimizer_lowers_a_convex_loss_and_repeats_itself(kind: type[Any]):
    optimizer = kind(**{"noise": 1e-3} if "noise" in kind.model_fields else {}, lr=0.05)
    fields = numbers(optimizer)
    move = Move(
        rate=torch.tensor([[0.05], [0.02]]),
        decay=None,
        numbers={name: torch.full((2, 1), value) for name, value in fields.items()},
        used=frozenset(name for name, value in fields.items() if value),
        keys=lambda: torch.tensor([1, 2]),
    )

    def descend() -> torch.Tensor:
        weights = torch.tensor([[3.0, -2.0], [1.0, 1.0]])
        state = optimizer.state(weights)
        for _ in range(20):
            optimizer.step(weights, [2 * weights], state, move)
        return weights

    first, again = descend(), descend()
    assert (first.square().sum(1) < 0.5 * torch.tensor([13.0, 2.0])).all()
    assert torch.equal(first, again)


SCHEDULES: dict[str, Any] = {
    "constant": {},
    "multistep": {"milestones": (2, 4)},
    "cosine": {"period": 6},
    "power": {"exponent": 0.5},
    "plateau": {"patience": 1},
}


@pytest.mark.parametrize("kind", members(Schedule), ids=tag)
def test_a_schedule_scales_by_positive_numbers(kind: type[Any]):
    assert tag(kind) in SCHEDULES, "give the new schedule what it requires for these tests"
    schedule, progress, factors = kind(**SCHEDULES[tag(kind)]), Progress(), []
    for epoch in range(6):
        factors.append(schedule.factor(epoch, progress))
        progress = schedule.advance(progress, epoch + 1, 0.5)
    assert factors[0] == 1
    assert all(0 < factor < math.inf for factor in factors)
    assert len(set(factors)) == 1 or factors[-1] < 1


# --- the workloads --------------------------------------------------------------------------------------------------


def test_the_context_of_these_tests_is_a_context():
    assert isinstance(Here(), Context)


@pytest.mark.parametrize("model", MODELS)
def test_training_is_a_function_of_config_and_seed(model: str):
    torch_state = torch.get_rng_state()
    first = train.run(recipe(model), Here(seed=4))
    torch.manual_seed(99)
    again = train.run(TrainConfig.model_validate_json(recipe(model).model_dump_json(by_alias=True)), Here(seed=4))
    torch.set_rng_state(torch_state)
    assert equal(state(first), state(again))
    assert first.metrics == again.metrics
    assert not equal(state(first), state(train.run(recipe(model), Here(seed=5))))


@pytest.mark.parametrize("model", MODELS)
def test_what_a_training_hands_over(model: str):
    context = Here()
    result = train.run(recipe(model, epochs=3), context)
    assert isinstance(result.start, Mapping)
    assert state(result).keys() == result.start.keys()
    tensors = [*state(result).values(), *result.start.values()]
    assert all(item.device.type == "cpu" and not item.requires_grad and item.isfinite().all() for item in tensors)
    assert all(isinstance(value, int | float) for value in result.metrics.values())
    assert [row["step"] for row in context.rows] == [1, 2, 3], "one row an epoch"
    assert all({"train_loss", "learning_rate"} <= row.keys() for row in context.rows)


@pytest.mark.parametrize("model", MODELS)
def test_going_on_carries_buffers_over_and_leaves_its_input_alone(model: str):
    made = recipe(model)
    first = train.run(made, Here())
    before = {name: tensor.clone() for name, tensor in state(first).items()}
    still = TrainConfig.model_validate_json(
        json.dumps({
            "data": {"name": "digits", "subset": 40}, "start": {"from": "start"},
            "optimizer": {"name": "sgd", "lr": 0.1}, "stop": {"epochs": 0},
        })
    )  # fmt: skip
    moving = still.model_copy(update={"stop": Stop(epochs=1)})
    for config, unmoved in ((still, True), (moving, False)):
        closed = train.resolve(config, {"start": made})
        result = train.run(closed, Here(inputs={"start": Finished(made, first)}))
        assert result.start == "start"
        assert equal(state(result), before) == unmoved
        assert equal(state(first), before)


@pytest.mark.parametrize("roles", BY_ROLES)
def test_measuring_one_by_one_or_together_is_the_same(roles: tuple[str, ...]):
    made, result = trained("resnet18")
    inputs = {role: Finished(made, result) for role in roles}
    named = "input" if roles == ("input",) else {role: role for role in roles}
    asked = measure.resolve(
        MeasureConfig(**{"from": named, "measures": tuple(BY_ROLES[roles])}), dict.fromkeys(roles, made)
    )
    assert asked.data == made.data.clean()
    together = measure.run(asked, Here(inputs=inputs)).metrics
    alone = [measure.run(part, Here(inputs=inputs)).metrics for part in measure.split(asked).values()]
    assert {name: value for part in alone for name, value in part.items()} == together


# --- without torch --------------------------------------------------------------------------------------------------

PLANNING = """
import json, pathlib, sys
from workloads import measure, train
from workloads.datasets import CIFAR10, CIFAR100, MNIST, Digits
from workloads.measures import MEASURES
fit = train.TrainConfig.model_validate_json(json.dumps({
    "data": {"name": "cifar10", "labels": "random", "copies": 1, "zero_out": 0.1}, "model": {"name": "resnet18"},
    "optimizer": {"name": "sgd", "lr": 0.1}, "stop": {"epochs": 3, "train_accuracy": 1.0}}))
on = train.TrainConfig.model_validate_json(json.dumps({
    "data": {"name": "cifar10"}, "start": {"from": "start"}, "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": {"name": "multistep", "milestones": [1]}, "stop": {"epochs": 3}}))
on = train.resolve(on, {"start": fit})
for name, found in MEASURES.items():
    named = "input" if found.roles == ("input",) else {role: role for role in found.roles}
    look = measure.MeasureConfig.model_validate_json(json.dumps({"from": named, "measures": [name]}))
    part = measure.split(measure.resolve(look, dict.fromkeys(found.roles, on)))[name]
    part.model_dump_json(by_alias=True), part.measures[0].part_version
for data in (CIFAR10(), CIFAR100(), MNIST(), Digits()):
    data.fingerprint(pathlib.Path()), data.missing(pathlib.Path("nowhere"))
print(sorted({"torch", "numpy", "sklearn", "ray", "mlflow"} & set(sys.modules)))
"""


def test_planning_loads_no_torch():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PLANNING], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("union", [Dataset, Model, Optimizer, Schedule, Start])
def test_every_part_describes_its_fields(union: Any):
    for kind in members(union):
        assert kind.__doc__, kind
        assert kind.model_config.get("extra") == "forbid", "a misspelt field is an error"
        assert kind.model_config.get("frozen")
