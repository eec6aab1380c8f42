"""What a line of slots prepares, refuses and keeps apart: steps, data that changes, ways that do not work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contract.here import Finished, Here
from tests.unit.workloads.plain_training import Tiny
from workloads import measure, train
from workloads.arrays.layers import Conv2dArray
from workloads.contract import Hardware, Job, Result
from workloads.datasets import Digits
from workloads.events import Record, SwitchData
from workloads.measure import MeasureConfig
from workloads.measures import MEASURES, MeasureEntry
from workloads.measures.registry import Measure
from workloads.models import MLP, Conv4
from workloads.optimizers import SGD, Group
from workloads.train import Stop, TrainConfig
from workloads.training import graphs, slots
from workloads.training.array import Array
from workloads.training.precision import multiplying
from workloads.training.slot import begin
from workloads.training.step import Step, Stepper


def config(**fields: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "data": Digits(subset=40), "model": MLP(width=8), "optimizer": SGD(lr=0.05), "batch_size": 16,
        "stop": Stop(epochs=3),
    }  # fmt: skip
    return TrainConfig(**(defaults | fields))


def far(first: Result, second: Result) -> float:
    assert first.weights is not None
    assert second.weights is not None
    return max((item - second.weights[name]).abs().max().item() for name, item in first.weights.items())


def holding(prepared: list[frozenset[str]]) -> Any:
    """Steps that, like CUDA graphs, are good for the images they were prepared with and no others."""

    def fastest(stepper: Stepper, steps: int) -> Step:
        pool, augments = stepper.array.pool, stepper.array.augments
        prepared.append(stepper.used)

        def step(rows: Tensor, draws: Tensor | None) -> Tensor:
            assert stepper.array.pool is pool
            assert (draws is not None) == augments
            return stepper(rows, draws)

        return step

    return fastest


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_what_was_prepared_for_other_images_is_not_used_after_a_switch(augment: Any, monkeypatch: pytest.MonkeyPatch):
    made = config(events=(SwitchData(epoch=2, data=Digits(subset=30, augment=augment)),))
    expected = train.run(made, Here())
    prepared: list[frozenset[str]] = []
    monkeypatch.setattr(slots, "fastest", holding(prepared))
    assert far(train.run(made, Here()), expected) == 0
    assert len(prepared) == 2
    resumed = Here()
    train.run(made.model_copy(update={"stop": Stop(epochs=3)}), resumed)
    assert far(train.run(made, resumed), expected) == 0, "taken up after the switch"


def test_switched_data_are_augmented_as_they_say():
    def switching(first: Any, then: Any) -> Result:
        event = SwitchData(epoch=1, data=Digits(subset=40, augment=then))
        return train.run(config(data=Digits(subset=40, augment=first), events=(event,)), Here())

    kept = train.run(config(data=Digits(subset=40, augment="crop_flip")), Here())
    assert far(switching("crop_flip", "crop_flip"), kept) == 0
    assert far(switching("none", "crop_flip"), switching("none", "none")) > 1e-4
    assert far(switching("crop_flip", "none"), kept) > 1e-4


def test_a_step_is_prepared_anew_only_for_what_it_was_not_prepared_for(monkeypatch: pytest.MonkeyPatch):
    prepared: list[frozenset[str]] = []
    monkeypatch.setattr(slots, "fastest", holding(prepared))
    configs = [config(stop=Stop(epochs=epochs), optimizer=SGD(lr=0.01 * epochs)) for epochs in (1, 2, 3, 1, 2, 3)]
    jobs = [Job(made, Here(seed=seed)) for seed, made in enumerate(configs)]
    ended = [*train.run_array(jobs, Hardware(slots=1))]
    assert all(isinstance(item.result, Result) for item in ended)
    assert prepared == [{"lr"}]
    prepared.clear()
    jobs[3] = Job(config(optimizer=SGD(lr=0.1, momentum=0.5)), Here(seed=3))
    assert all(isinstance(item.result, Result) for item in train.run_array(jobs, Hardware(slots=1)))
    assert prepared == [{"lr"}, {"lr", "momentum"}, {"lr"}]


@pytest.mark.parametrize("guilty", [2, None])
def test_an_error_at_nobodys_door_is_looked_for_one_by_one_and_the_rest_go_on_together(
    guilty: int | None, monkeypatch: pytest.MonkeyPatch
):
    """`guilty` fails wherever it is; where nobody is guilty, every array of more than one fails."""
    usual = slots.train_epoch

    def train_epoch(array: Array, *given: Any) -> list[float]:
        if (array.numbers["lr"] > 1).any() or (guilty is None and array.size > 1):
            raise RuntimeError("a kernel failed")
        return usual(array, *given)

    monkeypatch.setattr(slots, "train_epoch", train_epoch)
    jobs = [Job(config(optimizer=SGD(lr=2.0 if seed == guilty else 0.05)), Here(seed=seed)) for seed in range(9)]
    ended = {item.job.context.seed: item for item in train.run_array(jobs, Hardware(slots=3))}
    assert ended.keys() == set(range(9))
    failed = {seed for seed, item in ended.items() if isinstance(item.result, Exception)}
    assert failed == ({guilty} if guilty is not None else set())
    assert {ended[seed].array for seed in range(3)} == {1}
    assert {ended[seed].array for seed in range(3, 9)} == {3 if guilty is not None else 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"optimizer": SGD(lr=0.1, groups=(Group(match="biass", lr=0.1),))},
            "'biass'; names have bias, weight; did you mean 'bias'",
        ),
        ({"model": MLP(width=8, batch_norm=True), "data": Digits(subset=33)}, "the one image that 33 in batches of 16"),
        ({"model": MLP(width=8, batch_norm=True), "batch_size": 1}, "the one image that 40 in batches of 1"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_an_epoch_is_spent(fields: dict[str, Any], message: str):
    context = Here()
    with pytest.raises(ValueError, match=message):
        train.run(config(**fields), context)
    assert not context.rows


def test_a_lone_image_is_fine_where_batch_norm_sees_maps_or_there_is_none():
    assert train.run(config(data=Digits(subset=33)), Here()).metrics["epochs"] == 3
    maps = config(model=Conv4(width=2, batch_norm=True)).model_copy(update={"data": Tiny(count=33, side=32)})
    assert train.run(maps, Here()).metrics["epochs"] == 3
    nothing = config(model=MLP(width=8, batch_norm=True), batch_size=1, stop=Stop(epochs=0))
    assert train.run(nothing, Here()).metrics["epochs"] == 0


def test_a_switch_to_images_of_another_shape_is_refused_before_an_epoch_is_spent():
    event = SwitchData.model_construct(epoch=2, data=Tiny())
    made, context = config().model_copy(update={"events": (event,)}), Here()
    with pytest.raises(ValueError, match=r"images of 3x8x8 in 10 classes, where .* images of 1x8x8"):
        train.run(made, context)
    assert not context.rows


def prepared_on_a_gpu(monkeypatch: pytest.MonkeyPatch, broken: set[str]) -> Step | str:
    """What is chosen where capturing, compiling or the plain step fails; on the CPU, whose steps are as good here."""

    class Graphs:
        def __init__(self, stepper: Any) -> None:
            self.stepper = stepper

        def __call__(self, rows: Tensor, draws: Tensor | None) -> Tensor:
            if "graph" in broken:
                raise torch.OutOfMemoryError("no memory for a capture")
            if "last graph" in broken and rows.shape[1] < 16:
                raise torch.OutOfMemoryError("no memory for a second capture")
            return self.stepper(rows, draws)

    def compiled(stepper: Stepper) -> Any:
        def step(rows: Tensor, draws: Tensor | None) -> Tensor:
            raise RuntimeError("no C compiler")

        return step if "compiler" in broken else stepper

    made = config(model=Conv4(width=2, batch_norm=True))
    first = begin(Job(made, Here()))
    array = Array(made, first.data, 1, False, "cpu")
    array.fill(0, made, 0, first.data, first.start)
    array.rates.fill_(0.1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(graphs, "Graphs", Graphs)
    monkeypatch.setattr(Stepper, "compiled", compiled)
    stepper = Stepper(array, frozenset({"lr"}))
    if "step" in broken:
        monkeypatch.setattr(Stepper, "_gradient", lambda *given: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    before = array.network.state(0)
    chosen = graphs.fastest_on_gpu(stepper, 10**9)
    assert all(torch.equal(item, before[name]) for name, item in array.network.state(0).items())
    return "eager" if chosen is stepper else "graph"


def test_a_way_that_does_not_work_on_this_gpu_is_not_taken(monkeypatch: pytest.MonkeyPatch):
    assert prepared_on_a_gpu(monkeypatch, {"graph"}) == "eager"
    assert prepared_on_a_gpu(monkeypatch, {"graph", "compiler"}) == "eager"
    assert prepared_on_a_gpu(monkeypatch, {"last graph"}) == "eager", "40 images in batches of 16 leave 8"
    assert prepared_on_a_gpu(monkeypatch, {"compiler"}) in ("eager", "graph")
    with pytest.raises(torch.OutOfMemoryError):
        prepared_on_a_gpu(monkeypatch, {"step"})


@pytest.mark.parametrize("works", [True, False])
def test_a_layout_without_a_kernel_is_not_taken_nor_used_for_a_part_of_the_array(
    works: bool, monkeypatch: pytest.MonkeyPatch
):
    """Libraries lack some convolutions in groups with channels innermost, others with channels outermost."""
    usual = Conv2dArray.forward

    def forward(layer: Conv2dArray, x: Tensor) -> Tensor:
        if layer.channels_last != works:
            raise RuntimeError("unable to find an engine to execute this computation")
        return usual(layer, x)

    monkeypatch.setattr(Conv2dArray, "forward", forward)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(graphs, "Graphs", lambda stepper: stepper)
    made = config(model=Conv4(width=2))
    array = Array(made, begin(Job(made, Here())).data, 3, False, "cpu")
    graphs.fastest_on_gpu(Stepper(array, frozenset({"lr"})), 1)
    assert array.network.channels_last == works
    assert len(array.take([0, 2]).evaluate()) == 2


def test_measures_are_in_strict_single_precision(monkeypatch: pytest.MonkeyPatch):
    """Torch's own default lets a GPU round the factors of convolutions to tf32."""
    flags = torch.backends.cudnn, torch.backends.cuda.matmul

    def rounded(snapshot: Any) -> float:
        return float(any(flag.allow_tf32 for flag in flags))

    monkeypatch.setitem(MEASURES, "test_accuracy", Measure(rounded, "a test", "none", "none", 1))
    entry = MeasureEntry(name="test_accuracy")
    made, context = config(precision="tf32", events=(Record(measures=(entry,)),)), Here()
    result = train.run(made, context)
    assert [row["test_accuracy"] for row in context.rows] == [0.0] * 3
    measured = MeasureConfig(**{"from": "input", "measures": (entry,), "data": made.data})
    inputs = {"input": Finished(made, result)}
    with multiplying("tf32"):
        assert measure.run(measured, Here(inputs=inputs)).metrics["test_accuracy"] == 0.0
        assert rounded(None) == 1.0, "put back"
