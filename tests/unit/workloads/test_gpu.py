"""What only a GPU can show: graphs, layouts, precisions. Not in the default tier: `pytest -m gpu`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.contract.here import Here
from tests.unit.workloads.plain_training import Tiny
from workloads import train
from workloads.adversaries import PGD
from workloads.contract import Hardware, Job, Result
from workloads.events import SwitchData
from workloads.losses import CrossEntropy, Exponential, Square
from workloads.models import Conv4, ResNet18, VGGGeneralization
from workloads.optimizers import SGD, Langevin
from workloads.train import Stop, TrainConfig
from workloads.training.array import Array
from workloads.training.slot import begin
from workloads.training.step import Stepper

pytestmark = pytest.mark.gpu
DEVICE = "cuda:0"


def config(**fields: Any) -> TrainConfig:
    made = TrainConfig.model_construct(
        data=Tiny(augment="crop_flip"), model=Conv4(width=8, batch_norm=True, dropout=0.2),
        optimizer=SGD(lr=0.05, momentum=0.9), batch_size=16, precision="fp64", stop=Stop(epochs=4),
    )  # fmt: skip
    return made.model_copy(update=fields)


def weights(made: TrainConfig, device: str, slots: int | None) -> list[dict[str, torch.Tensor]]:
    jobs = [Job(made, Here(seed=seed, device=device)) for seed in range(3)]
    results = {item.job.context.seed: item.result for item in train.run_array(jobs, Hardware(device, slots))}
    assert all(isinstance(result, Result) for result in results.values()), results
    return [dict(results[seed].weights) for seed in range(3)]  # pyright: ignore


def furthest(first: list[dict[str, torch.Tensor]], second: list[dict[str, torch.Tensor]]) -> float:
    pairs = zip(first, second, strict=True)
    return max((one[name].double() - two[name].double()).abs().max().item() for one, two in pairs for name in one)


@pytest.mark.parametrize("slots", [1, 3, None])
@pytest.mark.parametrize("optimizer", [SGD(lr=0.05, momentum=0.9), Langevin(lr=0.05, noise=0.01)])
def test_a_gpu_trains_as_a_cpu_does(slots: int | None, optimizer: Any):
    made = config(optimizer=optimizer)
    assert furthest(weights(made, "cpu", 1), weights(made, DEVICE, slots)) < 1e-9


def test_a_graph_does_not_outlive_the_images_it_was_captured_with():
    later = SwitchData.model_construct(epoch=2, data=Tiny(count=30, augment="crop_flip", labels="random"))
    made = config(data=Tiny(), events=(later,))
    found = [train.run(made, Here(device=device)).weights for device in ("cpu", DEVICE)]
    assert furthest([dict(found[0] or {})], [dict(found[1] or {})]) < 1e-9


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("model", [ResNet18(width=4), VGGGeneralization(width=4)], ids=lambda model: model.name)
def test_a_graph_makes_the_same_step(model: Any, channels_last: bool):
    from workloads.training.graphs import Graphs

    found = []
    for graphed in (False, True):
        made = config(model=model, data=Tiny(side=32))
        array = Array(made, begin(Job(made, Here())).data, 2, False, DEVICE)
        for index in range(2):
            slot = begin(Job(made, Here(seed=index)))
            array.fill(index, made, index, slot.data, slot.start)
        array.network.arrange(channels_last)
        array.rates.fill_(0.05)
        stepper = Stepper(array, frozenset({"lr", "momentum"}))
        step = Graphs(stepper) if graphed else stepper
        for begin_row in (0, 16, 0, 32):  # with another batch, and a smaller one
            step(torch.arange(begin_row, min(begin_row + 16, 40), device=DEVICE).repeat(2, 1), None)
        found.append([array.network.state(index) for index in range(2)])
    assert furthest(*found) < 1e-9


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_precisions(precision: Any):
    expected = weights(config(), "cpu", 1)
    found = weights(config(precision=precision, stop=Stop(epochs=1)), DEVICE, 1)
    assert all(item.dtype != torch.bfloat16 for state in found for item in state.values())
    expected = weights(config(stop=Stop(epochs=1)), "cpu", 1)
    tolerance = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}[precision]
    assert furthest(found, expected) < tolerance


@pytest.mark.parametrize("loss", [CrossEntropy(), Square(), Exponential()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("adversary", [None, PGD(epsilon=0.1, step=0.05, steps=2)])
def test_no_step_waits_for_the_device(loss: Any, adversary: Any):
    made = config(precision="fp32", loss=loss, adversary=adversary)
    array = Array(made, begin(Job(made, Here())).data, 1, False, DEVICE)
    first = begin(Job(made, Here()))
    array.fill(0, made, 0, first.data, first.start)
    stepper = Stepper(array, frozenset({"lr", "momentum"}))
    rows, draws = torch.arange(16, device=DEVICE)[None], torch.zeros(1, 16, 3, dtype=torch.int64, device=DEVICE)
    stepper(rows, draws)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        stepper(rows, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
