"""A training that is interrupted and taken up again ends with the same bytes, alone or in an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tests.contract.here import Here
from workloads import train
from workloads.adversaries import PGD
from workloads.contract import Checkpoint, Ended, Hardware, Job, Result
from workloads.datasets import Digits
from workloads.events import Perturb, Project, Record, SwitchData
from workloads.losses import Square
from workloads.measures import MeasureEntry
from workloads.models import MLP, ResNet18
from workloads.optimizers import SGD, Langevin
from workloads.regularizers import NormBias
from workloads.schedules import Cosine, Multistep, Plateau
from workloads.train import Stop, TrainConfig


class Interrupted(Exception):
    """What ends a training in the middle."""


@dataclass
class Stopping(Here):
    """A context that keeps every state and, after `last` of them, ends the training."""

    last: int | None = None
    states: list[Checkpoint] = field(default_factory=list)
    rows_then: int = 0

    def save(self, state: Any) -> None:
        self.states.append(state())
        self.rows_then = len(self.rows)
        if len(self.states) == self.last:
            raise Interrupted

    def restore(self) -> Checkpoint | None:
        del self.rows[self.rows_then :]
        return self.states[-1] if self.states else None


def config(**fields: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "data": Digits(subset=60, augment="crop_flip"), "model": ResNet18(width=2),
        "optimizer": SGD(lr=0.05, momentum=0.9, weight_decay=1e-3), "batch_size": 16, "stop": Stop(epochs=5),
    }  # fmt: skip
    return TrainConfig(**(defaults | fields))


CASES = {
    "momentum and batch norm": config(),
    "dropout": config(model=MLP(width=8, depth=2, dropout=0.5)),
    "langevin": config(model=MLP(width=8), optimizer=Langevin(lr=0.05, noise=0.01)),
    "norm bias": config(regularizer=NormBias(mu2=100.0, weight=0.01), schedule=Multistep(milestones=(2, 4))),
    "plateau": config(model=MLP(width=8), schedule=Plateau(gamma=0.5, patience=1), stop=Stop(epochs=8)),
    "adversary": config(model=MLP(width=8), adversary=PGD(epsilon=0.1, step=0.05, steps=2)),
    "full batch": config(model=MLP(width=8, dropout=0.3), batch_size="full", loss=Square()),
    "half precision": config(precision="bf16"),
    "recorded": config(
        model=MLP(width=8, dropout=0.3),
        events=(Project(norm=3.0, every=2), Record(measures=(MeasureEntry(name="test_loss"),))),
        schedule=Cosine(period=5),
    ),
    "augmented later": config(
        data=Digits(subset=60), events=(SwitchData(epoch=2, data=Digits(subset=40, augment="crop_flip")),)
    ),
    "events": config(
        model=MLP(width=8),
        events=(Perturb(every=2, std=0.01), SwitchData(epoch=2, data=Digits(subset=40, labels="random"))),
    ),
}


def same(first: Result, second: Result) -> bool:
    assert first.weights is not None
    assert second.weights is not None
    weights = all(torch.equal(item, second.weights[name]) for name, item in first.weights.items())
    return weights and first.metrics == second.metrics and first.outcome == second.outcome


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("after", [1, 3])
def test_resumed_training_ends_with_the_same_bytes(case: str, after: int):
    expected_context = Here(seed=2)
    expected = train.run(CASES[case], expected_context)
    context = Stopping(seed=2, last=after)
    with pytest.raises(Interrupted):
        train.run(CASES[case], context)
    assert len(context.rows) == after
    context.last = None
    assert same(train.run(CASES[case], context), expected)
    assert context.rows == expected_context.rows, "the history as if nothing had happened"


def test_a_restored_network_joins_an_array_of_others():
    made = config(model=MLP(width=8), precision="fp64")
    expected = [train.run(made, Here(seed=seed)) for seed in range(4)]
    contexts = [Stopping(seed=seed, last=seed or None) for seed in range(4)]

    def array() -> Sequence[Ended]:
        return [*train.run_array([Job(made, context) for context in contexts], Hardware(slots=2))]

    ended = array()
    assert sum(isinstance(item.result, Interrupted) for item in ended) == 3
    for context in contexts:
        context.last = None
    for item in array():
        assert isinstance(item.result, Result)
        twin = expected[item.job.context.seed]
        assert item.result.weights is not None
        assert twin.weights is not None
        assert all(torch.allclose(item.result.weights[n], twin.weights[n], rtol=0, atol=1e-9) for n in twin.weights)
        assert item.result.metrics["epochs"] == 5
