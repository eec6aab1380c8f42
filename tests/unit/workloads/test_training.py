"""Training: equal to a plain PyTorch loop, reproducible to the byte, ended by its rules, honest about divergence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from tests.contract.here import Finished, Here
from workloads import measure, train
from workloads.contract import Result
from workloads.datasets import Digits
from workloads.measure import MeasureConfig
from workloads.models import MLP, ResNet18
from workloads.optimizers import SGD
from workloads.schedules import Multistep
from workloads.starts import FromStage
from workloads.streams import generator
from workloads.train import Stop, TrainConfig
from workloads.training.evaluation import normalized


def config(**fields: Any) -> TrainConfig:
    defaults = {
        "data": Digits(subset=100), "model": MLP(width=16, depth=1), "optimizer": SGD(lr=0.1), "batch_size": 32,
        "stop": Stop(epochs=3),
    }  # fmt: skip
    return TrainConfig(**{**defaults, **fields})


def same(first: Result, second: Result) -> bool:
    assert first.weights is not None
    assert second.weights is not None
    return all(torch.equal(tensor, second.weights[name]) for name, tensor in first.weights.items())


def test_equals_a_plain_pytorch_loop():
    made = config(
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=0.01), schedule=Multistep(milestones=(2,), gamma=0.5)
    )
    result = train.run(made, Here(seed=3))
    data = made.data.load(Path(), 3)
    assert made.model is not None
    model = made.model.build(data.shape, data.classes)
    assert isinstance(result.start, Mapping)
    model.load_state_dict(dict(result.start))
    x = normalized(data.train_x, data.mean, data.std)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, foreach=False)
    for epoch in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 if epoch < 2 else 0.05
        order = torch.randperm(100, generator=generator(3, "order", epoch))
        for first in range(0, 100, 32):
            batch = order[first : first + 32]
            loss = F.cross_entropy(model(x[batch]), data.train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert result.weights is not None
    for name, tensor in model.state_dict().items():
        assert torch.equal(result.weights[name], tensor), name


@pytest.mark.parametrize("model", [MLP(width=8, depth=2), ResNet18(width=2)])
@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_same_seed_same_bytes_and_another_seed_differs(model: MLP | ResNet18, augment: Literal["none", "crop_flip"]):
    made = config(model=model, data=Digits(subset=40, augment=augment), stop=Stop(epochs=2))
    torch.manual_seed(1)
    first = train.run(made, Here(seed=1))
    torch.manual_seed(2)
    assert same(first, train.run(made, Here(seed=1)))
    assert not same(first, train.run(made, Here(seed=2)))


def test_augmentation_changes_the_result():
    assert not same(
        train.run(config(), Here()), train.run(config(data=Digits(subset=100, augment="crop_flip")), Here())
    )


def test_no_epochs_trains_nothing():
    result = train.run(config(stop=Stop(epochs=0)), Here())
    assert isinstance(result.start, Mapping)
    assert result.weights is not None
    assert all(torch.equal(tensor, result.start[name]) for name, tensor in result.weights.items())


def test_stops_at_the_accuracy_and_at_the_loss_that_were_asked_for():
    fitted = train.run(config(stop=Stop(epochs=200, train_accuracy=1.0)), Here())
    assert fitted.metrics["train_accuracy"] == 1.0
    assert 1 < fitted.metrics["epochs"] < 200
    rare = train.run(config(stop=Stop(epochs=200, train_accuracy=1.0, every=7)), Here())
    assert rare.metrics["epochs"] % 7 == 0
    low = train.run(config(stop=Stop(epochs=300, loss=0.05)), Here())
    assert low.metrics["train_loss"] < 0.05
    assert low.metrics["epochs"] < 300


def test_divergence_is_an_outcome():
    result = train.run(config(optimizer=SGD(lr=1e20)), Here())
    assert result.outcome == "diverged"
    assert result.metrics["epochs"] < 3


def test_divergence_in_the_very_last_step_is_one_too():
    made = config(data=Digits(subset=20), optimizer=SGD(lr=1e30), stop=Stop(epochs=1))
    context = Here()
    result = train.run(made, context)
    assert context.rows[0]["train_loss"] < 10, "the loss before the only step was finite"
    assert result.outcome == "diverged"


def test_goes_on_from_the_weights_of_its_input():
    first_config = config(data=Digits(subset=100, confusion=50))
    first = train.run(first_config, Here())
    inputs = {"start": Finished(first_config, first)}
    open_config = TrainConfig.model_validate_json(
        '{"data": {"name": "digits", "subset": 100}, "start": {"from": "start"}, "stop": {"epochs": 0},'
        ' "optimizer": {"name": "sgd", "lr": 0.1}}'
    )
    closed = train.resolve(open_config, {"start": first_config})
    assert closed.model == first_config.model
    result = train.run(closed, Here(inputs=inputs))
    assert same(result, first)
    assert result.start == "start"


def test_another_model_than_that_of_the_input_is_refused():
    other = config(model=MLP(width=99, depth=1), start=FromStage.model_validate({"from": "fit"}))
    with pytest.raises(ValueError, match="not the model of the stage it starts from"):
        train.resolve(other, {"start": config()})
    with pytest.raises(ValidationError, match="model: missing"):
        config(model=None)


def measured(names: list[Any], result: Result, made: TrainConfig) -> dict[str, float]:
    raw = MeasureConfig(**{"from": "input", "measures": tuple(names)})
    context = Here(inputs={"input": Finished(made, result)})
    closed = measure.resolve(raw, {"input": made})
    parts = [measure.run(part, context) for part in measure.split(closed).values()]
    assert len(context.memos) == 1, "siblings share the snapshot"
    return {name: value for part in parts for name, value in part.metrics.items()}


def test_measures_have_their_closed_forms():
    made = config(data=Digits(subset=100, confusion=30))
    result = train.run(made, Here())
    names = ["train_accuracy", "test_accuracy", "train_loss", "test_loss", "parameter_norm", "distance_from_start"]
    values = measured(names, result, made)
    clean = made.data.clean().load(Path(), 0)
    assert made.model is not None
    assert result.weights is not None
    assert isinstance(result.start, Mapping)
    model = made.model.build(clean.shape, 10).double()
    model.load_state_dict(dict(result.weights))
    for part, x, y in (("train", clean.train_x, clean.train_y), ("test", clean.test_x, clean.test_y)):
        outputs = model(normalized(x, clean.mean, clean.std).double())
        assert values[f"{part}_accuracy"] == pytest.approx((outputs.argmax(1) == y).double().mean().item())
        assert values[f"{part}_loss"] == pytest.approx(
            -outputs.log_softmax(1)[range(len(y)), y].mean().item(), abs=1e-6
        )
    flat = torch.cat([tensor.double().flatten() for tensor in result.weights.values()])
    start = torch.cat([tensor.double().flatten() for tensor in result.start.values()])
    assert values["parameter_norm"] == pytest.approx(flat.norm().item(), rel=1e-12)
    assert values["distance_from_start"] == pytest.approx((flat - start).norm().item(), rel=1e-12)


def test_batch_norm_counts_in_the_norm_and_its_running_statistics_do_not():
    made = config(model=ResNet18(width=2), data=Digits(subset=20), stop=Stop(epochs=0))
    result = train.run(made, Here())
    assert result.weights is not None
    running = {name for name in result.weights if "running" in name or "num_batches" in name}
    expected = sum(t.double().square().sum().item() for name, t in result.weights.items() if name not in running)
    assert running
    assert measured(["parameter_norm"], result, made)["parameter_norm"] == pytest.approx(expected**0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("test_acuracy",), "did you mean 'test_accuracy'"),
        (({"name": "test_accuracy", "epsilon": 1},), "has no option 'epsilon'"),
        (("test_loss", "test_loss"), "stands twice"),
        ((), "at least 1 item"),
        ((3,), "a measure is a name"),
    ],
)
def test_wrong_measures_are_refused(entries: tuple[Any, ...], message: str):
    with pytest.raises(ValidationError, match=message):
        MeasureConfig(**{"from": "input", "measures": entries})
