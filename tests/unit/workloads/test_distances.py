"""Distances between two networks: closed forms, and a sweep that compares a start with what was trained from it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.integration.test_sweep import results, sweep
from workloads.datasets.images import Data
from workloads.events import Record
from workloads.measures.norms import mean_parameter_change, relative_distance
from workloads.measures.snapshot import Snapshot

SPEC = """
name: distances
stages:
  corrupt:
    workload: train
    data: {name: digits, subset: 100, labels: random}
    model: {name: mlp, width: 4, depth: 1}
    optimizer: {name: sgd, lr: 0.1}
    stop: {epochs: 1}
  train:
    workload: train
    start: {from: corrupt}
    data: {name: digits, subset: 100}
    optimizer: {name: sgd, lr: 0.1}
    stop: {epochs: 1}
  moved:   {workload: measure, from: {first: train.start, second: train}, measures: [relative_distance]}
  nothing: {workload: measure, from: {first: corrupt, second: train.start}, measures: [relative_distance]}
  whole:   {workload: measure, from: train, measures: [distance_from_start, parameter_norm]}
axes:
  seed: 2
"""


def snapshot(*values: float) -> Snapshot:
    """A network whose weights, and batch norm's gamma, are these."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(len(values) - 1, 1), nn.BatchNorm1d(1))
    x, y = torch.zeros(1, len(values) - 1, 1, 1, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    for parameter in model.parameters():
        parameter.data.zero_()
    linear, norm = model[1], model[2]
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    linear.weight.data.copy_(torch.tensor(values[:-1]))
    norm.weight.data.fill_(values[-1])
    return Snapshot(model.eval(), {}, Data(x, y, x, y, (0.0,), (1.0,), 1), "cpu")


def test_distances_are_relative_to_the_second_network():
    """Check 10 of the known answers."""
    one, other, long = snapshot(3.0, 0.0, 0.0), snapshot(0.0, 3.0, 0.0), snapshot(0.0, 12.0, 0.0)
    assert relative_distance(one, one) == 0
    assert relative_distance(one, other) == pytest.approx(math.sqrt(2))
    assert relative_distance(long, one) == pytest.approx(math.sqrt(1 + (12 / 3) ** 2))
    assert relative_distance(one, snapshot(0.0, 0.0, 0.0)) == math.inf


def test_batch_norm_counts_unless_only_weights_do():
    first, second = snapshot(3.0, 4.0, 1.0), snapshot(3.0, 4.0, 2.0)
    assert relative_distance(first, second) == pytest.approx(1 / math.sqrt(29))
    assert relative_distance(first, second, only_weights=True) == 0


def test_the_mean_change_counts_each_tensor_by_its_mean():
    """Two weights move by 3 and 0, gamma by 1, the biases not at all: sqrt(9 / 2 + 1)."""
    change = mean_parameter_change(snapshot(3.0, 0.0, 1.0), snapshot(0.0, 0.0, 2.0))
    assert change == pytest.approx(math.sqrt(9 / 2 + 1))
    with pytest.raises(ValueError, match="different parameters"):
        mean_parameter_change(snapshot(1.0, 2.0, 3.0), snapshot(1.0, 2.0))


def test_networks_of_other_shapes_do_not_compare():
    with pytest.raises(ValueError, match="different parameters"):
        relative_distance(snapshot(1.0, 2.0, 3.0), snapshot(1.0, 2.0))


def test_a_sweep_compares_stages(tmp_path: Path):
    spec = tmp_path / "distances.yaml"
    spec.write_text(SPEC)
    run = sweep("run", spec, "--store", tmp_path / "store", "--inline", "--quiet")
    assert run.returncode == 0, run.stderr
    found = results(tmp_path / "store", "distances")
    assert found["metric.nothing.relative_distance"] == [0.0, 0.0]
    moved = zip(found["metric.distance_from_start"], found["metric.parameter_norm"], strict=True)
    expected = [distance / norm for distance, norm in moved]
    assert found["metric.moved.relative_distance"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("from: {first: train.start, second: train}", "from: train", "`from: {first: STAGE, second: STAGE}`"),
        ("from: train, measures: [d", "from: {first: train}, measures: [d", "`from: STAGE`; it has first"),
    ],
)
def test_a_measure_says_which_inputs_it_wants(tmp_path: Path, old: str, new: str, words: str):
    spec = tmp_path / "distances.yaml"
    assert old in SPEC
    spec.write_text(SPEC.replace(old, new))
    planned = sweep("plan", spec, "--store", tmp_path / "store")
    assert planned.returncode == 2
    assert words in planned.stderr
    assert "distances.yaml" in planned.stderr


def test_a_training_records_no_comparison():
    with pytest.raises(ValueError, match="relative_distance compares two networks"):
        Record.model_validate({"name": "record", "every": 1, "measures": ("relative_distance",)})
