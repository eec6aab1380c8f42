"""The geometric margin: distances to lines and circles, and the arrays that draw a boundary."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.integration.test_sweep import sweep
from workloads.datasets import Digits, Gaussians
from workloads.measures.plane import boundary_distances, geometric_margin
from workloads.measures.snapshot import Snapshot

HERE = Path()


def test_distances_to_a_line_are_exact_up_to_the_direction():
    points = torch.tensor([[0.3, 1.0], [-0.2, 5.0], [1.5, 0.0], [-4.0, 0.0]], dtype=torch.float64)
    found = boundary_distances(lambda at: at[:, 0], points, 72, 2.0)
    assert found.tolist() == pytest.approx([0.3, 0.2, 1.5, 2.0], abs=1e-9)
    turned = torch.tensor([math.cos(0.02), math.sin(0.02)], dtype=torch.float64)  # between two directions
    inexact = boundary_distances(lambda at: at @ turned, points[:1], 72, 2.0)
    exact = (points[:1] @ turned).abs().item()
    assert exact <= inexact.item() <= exact / math.cos(math.pi / 72) + 1e-9


def test_distances_to_a_circle_and_through_a_gap():
    inside = torch.tensor([[0.1, 0.0]], dtype=torch.float64)
    ring = boundary_distances(lambda at: at.norm(dim=1) - 0.5, inside, 8, 2.0)
    assert ring.item() == pytest.approx(0.4, abs=1e-9)
    strip = boundary_distances(lambda at: (at[:, 0] - 0.3).abs() - 0.01, inside, 8, 2.0)
    assert strip.item() == pytest.approx(0.19, abs=1e-9), "a narrow region of the other class is met on the way"


def linear(data: Gaussians) -> Snapshot:
    """Decides at x = 0.1."""
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, -0.1])
    return Snapshot(nn.Sequential(nn.Flatten(), layer).eval(), {}, data.load(HERE, 0), "cpu")


def test_the_margin_is_that_of_the_nearest_point_and_its_arrays_draw_it():
    found = geometric_margin(linear(Gaussians()), directions=36)
    points = Gaussians().load(HERE, 0).train_x.flatten(1).double()
    assert found.value == pytest.approx((points[:, 0] - 0.1).abs().min().item(), abs=1e-6)
    arrays = found.arrays
    assert arrays["z"].shape == (len(arrays["y"]), len(arrays["x"]))
    assert arrays["z"][3] == pytest.approx(arrays["x"] - 0.1, abs=1e-6)
    assert arrays["points"].shape == (100, 2)
    assert arrays["distances"].min() == found.value


def test_other_data_and_options_are_refused():
    with pytest.raises(ValueError, match="points of two classes"):
        geometric_margin(Snapshot(nn.Flatten(), {}, Digits().load(HERE, 0), "cpu"))
    with pytest.raises(ValueError, match="3 directions"):
        geometric_margin(linear(Gaussians()), directions=2)


SPEC = """
name: plane
stages:
  train:
    workload: train
    data: {name: gaussians, per_class: 10}
    model: {name: mlp, widths: [8]}
    optimizer: {name: sgd, lr: 0.1}
    batch_size: 10
    stop: {epochs: 30}
  measure: {workload: measure, from: train, measures: [geometric_margin, train_accuracy]}
tables:
  margin: {values: [geometric_margin]}
figures:
  boundary: {kind: boundary, stage: measure.geometric_margin, points: points, labels: labels}
"""


def test_a_sweep_measures_and_draws_a_boundary(tmp_path: Path):
    spec, store = tmp_path / "plane.yaml", tmp_path / "store"
    spec.write_text(SPEC, encoding="utf-8")
    assert sweep("run", spec, "--store", store, "--inline").returncode == 0
    made = sweep("figures", "plane", "--store", store, "--output", tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "boundary.svg").stat().st_size > 5000
