"""The compiled step is the step. A minute of compilation: not in the default tier."""

from __future__ import annotations

import pytest
import torch

from tests.contract.here import Here
from tests.unit.workloads.plain_training import Tiny
from workloads.contract import Job
from workloads.models import Conv4
from workloads.optimizers import SGD
from workloads.train import Stop, TrainConfig
from workloads.training.array import Array
from workloads.training.slot import begin
from workloads.training.step import Stepper


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_compiled_steps_are_the_steps():
    made = TrainConfig.model_construct(
        data=Tiny(augment="crop_flip"), model=Conv4(width=4, batch_norm=True, dropout=0.3), batch_size=16,
        precision="fp64", optimizer=SGD(lr=0.05, momentum=0.9), stop=Stop(epochs=1),
    )  # fmt: skip
    found = []
    for compiled in (False, True):
        slots = [begin(Job(made, Here(seed=seed))) for seed in range(2)]
        array = Array(made, slots[0].data, 2, False, "cpu")
        for index, slot in enumerate(slots):
            array.fill(index, made, index, slot.data, slot.start)
        array.rates.fill_(0.05)
        stepper = Stepper(array, frozenset({"lr", "momentum"}))
        step = stepper.compiled() if compiled else stepper
        for count in (16, 16, 8, 16):  # the last batch of an epoch is smaller
            step(torch.arange(count).repeat(2, 1), torch.ones(2, count, 3, dtype=torch.int64))
        found.append([array.network.state(index) for index in range(2)])
    for plain, other in zip(*found, strict=True):
        assert all((plain[name] - other[name]).abs().max().item() < 1e-9 for name in plain)
