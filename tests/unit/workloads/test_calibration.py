"""The choice of how many networks at once: the best measured rate, kept, and no time lost on hopeless sizes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.contract.here import Here
from workloads import train
from workloads.contract import Hardware, Job, Result
from workloads.datasets import Digits
from workloads.models import MLP
from workloads.optimizers import SGD
from workloads.train import Stop, TrainConfig
from workloads.training import calibration
from workloads.training.slot import begin


def config(**fields: object) -> TrainConfig:
    made = TrainConfig(
        data=Digits(subset=64), model=MLP(width=8), optimizer=SGD(lr=0.05), batch_size=16, stop=Stop(epochs=1)
    )
    return made.model_copy(update=fields)


def sleeping(seconds: Callable[[int], float], tried: list[int]) -> Callable[[int], Callable[[], None]]:
    """Steps that take so long for an array of some size."""

    def prepare(size: int) -> Callable[[], None]:
        tried.append(size)
        return lambda: time.sleep(seconds(size))

    return prepare


def test_overhead_is_shared_until_the_arithmetic_fills_the_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration, "SECONDS", 0.02)
    tried: list[int] = []
    rates = calibration.measure(
        sleeping(lambda size: 0.004 + (0.0 if size <= 8 else 0.004 * (size - 8)), tried), [1, 2, 4, 8, 16, 32], 100
    )
    assert max(rates, key=lambda size: rates[size]) == 8
    assert tried == [1, 2, 4, 8, 16], "at 16 the rate has fallen to below 0.7 of the best: 32 is not tried"


def test_slow_steps_end_the_search(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration, "SECONDS", 0.02)
    monkeypatch.setattr(calibration, "SLOW", 0.01)
    tried: list[int] = []
    calibration.measure(sleeping(lambda size: 0.012 * size, tried), [1, 2, 4], 100)
    assert tried == [1]


def test_a_size_that_does_not_fit_ends_the_search(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration, "SECONDS", 0.01)

    def prepare(size: int) -> Callable[[], None]:
        if size > 2:
            raise torch.OutOfMemoryError("no more")
        return lambda: time.sleep(0.002)

    rates = calibration.measure(prepare, [1, 2, 4, 8], 100)
    assert rates[4] == 0
    assert 8 not in rates
    assert max(rates, key=lambda size: rates[size]) == 2
    with pytest.raises(torch.OutOfMemoryError):
        calibration.measure(prepare, [4], 100)


def test_a_size_that_fails_is_not_chosen_and_harms_no_other(monkeypatch: pytest.MonkeyPatch):
    """Libraries lack a kernel for some sizes, and what fitted once may not fit when it is prepared again."""
    monkeypatch.setattr(calibration, "SECONDS", 0.01)
    tried: list[int] = []

    def prepare(size: int) -> Callable[[], None]:
        tried.append(size)
        if size == 4 or (size == 2 and tried.count(2) > 1):
            raise RuntimeError("unable to find an engine to execute this computation")
        return lambda: time.sleep(0.002)

    rates = calibration.measure(prepare, [1, 2, 4, 8], 100)
    assert rates.pop(1) > 0
    assert rates.pop(2) > 0
    assert rates == {4: 0}
    tried.clear()
    rates = calibration.measure(prepare, [1, 2], 2)
    assert tried == [1, 2, 1, 2, 1]
    assert rates.pop(1) > 0
    assert rates == {2: 0}, "the second time it failed"


def test_a_size_that_did_not_run_is_tried_again_where_more_memory_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration, "SECONDS", 0.01)
    measured: dict = {}
    first = begin(Job(config(), Here()))
    usual, short = calibration.steps, [True]

    def steps(slot: Any, size: int, drawn: bool, device: str) -> Callable[[], None]:
        if short[0] and size > 1:
            raise torch.OutOfMemoryError("no more")
        return usual(slot, size, drawn, device)

    monkeypatch.setattr(calibration, "steps", steps)
    assert calibration.choose(first, 2, 2, True, Hardware(memory=10**9, measured=measured)) == 1
    (label,) = measured
    assert measured[label]["2"] == -1e9
    short[0], before = False, dict(measured[label])
    assert calibration.choose(first, 2, 2, True, Hardware(memory=10**9, measured=measured)) == 1
    assert measured[label] == before, "not asked again for as much"
    calibration.choose(first, 2, 2, True, Hardware(memory=2 * 10**9, measured=measured))
    assert measured[label]["2"] > 0


@pytest.mark.parametrize("room", [4, 7, 100])
def test_measuring_holds_no_more_networks_than_there_is_room_for(room: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration, "SECONDS", 0.005)
    monkeypatch.setattr(calibration, "FALLING", 0.0)  # on a busy machine a larger size may well look slower
    held: list[int] = []
    most = 0

    class Prepared:
        def __init__(self, size: int) -> None:
            nonlocal most
            self.size = size
            held.append(size)
            most = max(most, sum(held))

        def __call__(self) -> None:
            time.sleep(0.001)

        def __del__(self) -> None:
            held.remove(self.size)

    rates = calibration.measure(Prepared, [1, 2, 4], room)
    assert rates.keys() == {1, 2, 4}
    assert most <= room
    assert not held


def test_what_was_measured_is_kept_and_decides():
    measured: dict = {}
    hardware = Hardware(measured=measured)
    first = begin(Job(config(), Here()))
    chosen = calibration.choose(first, 4, 4, True, hardware)
    ((label, rates),) = measured.items()
    assert chosen in (1, 2, 4)
    assert chosen == int(max(rates, key=lambda size: rates[size]))
    assert json.loads(label)["model"]["width"] == 8
    measured[label] = {"1": 5.0, "2": 9.0, "4": 7.0, "8": 1.0}
    assert calibration.choose(first, 6, 6, True, hardware) == 2
    assert calibration.choose(first, 1, 6, True, hardware) == 1
    assert calibration.choose(first, 64, 64, True, hardware) == 2, "8 was falling: nothing larger is tried"
    assert len(measured) == 1
    calibration.choose(begin(Job(config(model=MLP(width=9)), Here())), 2, 2, True, hardware)
    assert len(measured) == 2, "another architecture is measured by itself"


@pytest.mark.parametrize(
    ("rates", "most", "chosen"),
    [
        ({"1": 5.0, "2": 9.9, "4": 19.0}, 5, 5),
        ({"1": 5.0, "2": 9.9, "4": 19.0}, 4, 4),
        ({"1": 5.0, "2": 9.9, "4": 19.0, "8": 30.0}, 7, 7),
        ({"1": 5.0, "2": 9.9, "4": 19.0, "8": 18.0}, 7, 4),
        ({"1": 5.0, "2": 9.9, "4": 11.0}, 7, 4),
        ({"1": 5.0, "2": 9.9, "4": 9.0}, 7, 2),
        ({str(2**power): 1.9**power for power in range(7)}, 80, 64),
    ],
)
def test_a_few_more_than_the_best_size_go_together_while_that_costs_next_to_nothing(
    rates: dict[str, float], most: int, chosen: int
):
    first = begin(Job(config(), Here()))
    label = calibration.kind_of_array(first, "cpu")
    assert calibration.choose(first, most, 100, True, Hardware(measured={label: rates})) == chosen


def test_calibrating_changes_no_result():
    jobs = [Job(config(precision="fp64"), Here(seed=seed)) for seed in range(4)]
    auto = {item.job.context.seed: item.result for item in train.run_array(jobs, Hardware(slots=None))}
    for seed in range(4):
        alone, together = train.run(config(precision="fp64"), Here(seed=seed)), auto[seed]
        assert isinstance(together, Result)
        assert together.weights is not None
        assert alone.weights is not None
        for name, tensor in alone.weights.items():
            assert (together.weights[name] - tensor).abs().max().item() < 1e-9
