"""What two papers found, at toy scale on real handwritten digits: bad global minima exist, and who leaves them.

Sources: Neyshabur et al., "Exploring Generalization in Deep Learning", figure 3 (confusion sets); Liu et al., "Bad
Global Minima Exist and SGD Can Reach Them", Algorithm 1 and table 2.
"""

from __future__ import annotations

import json
from statistics import mean
from typing import Any

import pytest

from tests.contract.here import Finished, Here
from workloads import measure, train
from workloads.measure import MeasureConfig
from workloads.train import TrainConfig

pytestmark = [pytest.mark.science, pytest.mark.timeout(600)]

VANILLA: dict[str, Any] = {}
REGULARIZED = {"momentum": 0.9, "weight_decay": 5e-3}
SEEDS = range(3)


def fitted(seed: int, optimizer: dict[str, Any] = VANILLA, below: Finished | None = None, **fields: Any) -> Finished:
    """A training of the quickstart's network, from `below` where that is given."""
    raw = {
        "data": {"name": "digits", "subset": 400, **fields.pop("data", {})},
        "model": {"name": "mlp", "width": 256, "depth": 2},
        "optimizer": {"name": "sgd", "lr": 0.1, **optimizer},
        "batch_size": 64,
        **({"start": {"from": "start"}} if below else {}),
        **fields,
    }
    config = TrainConfig.model_validate_json(json.dumps(raw))
    result = train.run(config, Here(seed=seed, inputs={"start": below} if below else {}))
    return Finished(config, result, below, seed=seed)


def measured(node: Finished) -> dict[str, float]:
    names = ("train_accuracy", "test_accuracy", "parameter_norm")
    config = measure.resolve(MeasureConfig(**{"from": "input", "measures": names}), {"input": node.config})
    return dict(measure.run(config, Here(seed=node.seed, inputs={"input": node})).metrics)


def over_seeds(name: str, nodes: list[Finished]) -> float:
    return mean(measured(node)[name] for node in nodes)


def go_on(nodes: list[Finished], optimizer: dict[str, Any]) -> list[Finished]:
    schedule = {"name": "multistep", "milestones": [80]}
    return [fitted(node.seed, optimizer, node, schedule=schedule, stop={"epochs": 100}) for node in nodes]


def test_confusion_sets_lead_to_bad_minima_that_only_regularized_training_leaves():
    fits = {
        confusion: [
            fitted(seed, {"momentum": 0.9}, data={"confusion": confusion}, stop={"train_accuracy": 1.0, "epochs": 500})
            for seed in SEEDS
        ]
        for confusion in (0, 200, 400, 800)
    }
    accuracies = [over_seeds("test_accuracy", nodes) for nodes in fits.values()]
    norms = [over_seeds("parameter_norm", nodes) for nodes in fits.values()]
    assert all(node.metrics["train_accuracy"] == 1 for nodes in fits.values() for node in nodes), "all are fitted"
    assert accuracies == sorted(accuracies, reverse=True)
    assert norms == sorted(norms)
    assert accuracies[0] > 0.92
    assert accuracies[-1] < 0.55
    for confusion in (400, 800):
        trapped, escaped = go_on(fits[confusion], VANILLA), go_on(fits[confusion], REGULARIZED)
        assert over_seeds("train_accuracy", trapped) == over_seeds("train_accuracy", escaped) == 1, "minima both"
        assert over_seeds("test_accuracy", escaped) - over_seeds("test_accuracy", trapped) > 0.15
        assert over_seeds("test_accuracy", escaped) == pytest.approx(accuracies[0], abs=0.03)
        assert over_seeds("parameter_norm", escaped) < 0.5 * over_seeds("parameter_norm", trapped)


def test_an_adversarial_start_harms_vanilla_sgd_and_not_momentum_with_weight_decay():
    corrupted = {"labels": "random", "copies": 1, "zero_out": 0.1}
    stop = {"train_accuracy": 1.0, "epochs": 400}
    bad = [fitted(seed, {"momentum": 0.9}, data=corrupted, stop=stop) for seed in SEEDS]
    fresh = [fitted(seed, stop={"epochs": 0}) for seed in SEEDS]
    assert all(node.metrics["train_accuracy"] == 1 for node in bad)
    assert over_seeds("test_accuracy", bad) == pytest.approx(0.1, abs=0.06), "it has learned nothing that is true"

    def gap(optimizer: dict[str, Any]) -> float:
        random, adversarial = go_on(fresh, optimizer), go_on(bad, optimizer)
        assert over_seeds("train_accuracy", random) == over_seeds("train_accuracy", adversarial) == 1
        return over_seeds("test_accuracy", random) - over_seeds("test_accuracy", adversarial)

    assert gap(VANILLA) > 0.015
    assert abs(gap(REGULARIZED)) < 0.01
