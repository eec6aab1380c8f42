"""Gradient norms and eigenvalues as measures: what they report, together and alone, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.integration.test_sweep import results, sweep
from workloads.datasets.images import Data
from workloads.measures.curvature import (
    gradient_norm,
    largest_hessian_eigenvalue,
    regularized_loss,
    smallest_hessian_eigenvalue,
)
from workloads.measures.snapshot import Snapshot


def snapshot(model: nn.Module, count: int = 60, seed: int = 0) -> Snapshot:
    drawn = torch.Generator().manual_seed(1)
    x = torch.randint(256, (count, 1, 2, 2), dtype=torch.uint8, generator=drawn)
    y = torch.arange(count) % 3
    return Snapshot(model.eval().requires_grad_(False), {}, Data(x, y, x, y, (0.5,), (0.3,), 3), "cpu", seed)


def linear(scale: float = 0.5) -> nn.Module:
    layer = nn.Linear(4, 3)
    drawn = torch.Generator().manual_seed(0)
    layer.weight.data, layer.bias.data = (scale * torch.randn(shape, generator=drawn) for shape in ((3, 4), (3,)))
    return nn.Sequential(nn.Flatten(), layer)


def softmax_regression(found: Snapshot) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of the mean cross-entropy of a linear model, in closed form and float64."""
    layer = found.model[1]  # pyright: ignore[reportIndexIssue]
    x = found.train_images.flatten(1).double()
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    p = (x @ layer.weight.double().T + layer.bias.double()).softmax(1)
    wrong = p - torch.nn.functional.one_hot(found.data.train_y, 3)
    per_class = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    blocks = torch.einsum("nkl,ni,nj->kilj", per_class, wide, wide) / len(x)
    order = [5 * k + i for k in range(3) for i in range(4)] + [5 * k + 4 for k in range(3)]  # weights, then biases
    matrix = blocks.reshape(15, 15)[order][:, order]
    return (wrong.T @ wide / len(x)).flatten()[order], matrix


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("method", ["lanczos", "power"])
def test_softmax_regression_has_its_closed_forms(method: str, decay: float):
    """Check 5, on a loss that is convex: the smallest eigenvalue is 0, as adding to all logits changes nothing."""
    found = snapshot(linear())
    gradient, matrix = softmax_regression(found)
    weights = torch.cat([parameter.double().flatten() for parameter in found.model.parameters()])
    expected = (gradient + decay * weights).norm().item()
    assert gradient_norm(found, weight_decay=decay) == pytest.approx(expected, rel=1e-5)
    values = torch.linalg.eigvalsh(matrix) + decay
    options: dict[str, Any] = {"weight_decay": decay, "method": method, "residual": 1e-5, "products": 5000}
    low, high = (it(found, **options) for it in (smallest_hessian_eigenvalue, largest_hessian_eigenvalue))
    for pair, value in ((low, values[0].item()), (high, values[-1].item())):
        assert pair.value == pytest.approx(value, abs=1e-6)
        assert pair.beside["residual"] <= 2e-5
    assert low.beside["sign"] == (1 if decay else 0), "0 is near enough to an eigenvalue that is 0"
    assert high.beside["sign"] == 1


def test_the_regularized_loss_has_the_l2_term():
    found = snapshot(linear())
    norm = sum(parameter.double().square().sum().item() for parameter in found.model.parameters())
    plain = found.train_scores.loss
    assert regularized_loss(found) == pytest.approx(plain, rel=1e-12)
    assert regularized_loss(found, weight_decay=0.1) == pytest.approx(plain + 0.05 * norm, rel=1e-12)


def test_a_zero_network_on_balanced_classes_has_no_gradient():
    """Check 21: all but the last bias' is 0, and that is the frequencies less 1/3; its loss is log 3."""
    assert gradient_norm(snapshot(linear(0.0), 60), weight_decay=1.0) == pytest.approx(
        gradient_norm(snapshot(linear(0.0)))
    )
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    for parameter in hidden.parameters():
        parameter.data.zero_()
    assert regularized_loss(snapshot(hidden)) == pytest.approx(math.log(3), rel=1e-12)
    assert gradient_norm(snapshot(hidden)) < 1e-9
    dropped = torch.tensor([20, 20, 19]) / 59 - 1 / 3
    assert gradient_norm(snapshot(hidden, 59)) == pytest.approx(dropped.norm().item(), rel=1e-5)


def test_a_search_that_stops_early_decides_no_sign():
    found = snapshot(linear())
    early = smallest_hessian_eigenvalue(found, weight_decay=1e-4, method="power", products=3, residual=1e-5)
    assert early.value > 1e-4
    assert early.beside["residual"] > 1e-5
    assert early.beside["sign"] == 0


def test_the_residual_is_that_of_the_float64_hessian():
    """Where the spectral radius is 1e5 and more, float32 products leave residuals that a small eigenvalue drowns in."""
    found = snapshot(linear())
    data = found.data
    wide = Data(data.train_x, data.train_y, data.test_x, data.test_y, (0.5,), (1e-4,), 3)
    steep = Snapshot(linear(1e-5), {}, wide, "cpu")
    single, double = (
        smallest_hessian_eigenvalue(steep, weight_decay=1e-3, precision=it, residual=1e-6) for it in ("fp32", "fp64")
    )
    assert largest_hessian_eigenvalue(steep).value > 1e5
    assert single.beside["residual"] > 1e-3
    assert single.beside["sign"] == 0
    assert double.value == pytest.approx(1e-3, rel=1e-4)
    assert double.beside["sign"] == 1


def test_a_network_that_diverged_has_no_eigenvalues():
    found = smallest_hessian_eigenvalue(snapshot(linear(math.inf)))
    assert math.isnan(found.value)
    assert math.isnan(found.beside["residual"])
    assert found.beside["sign"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "arnoldi"}, "method is one of lanczos, power"),
        ({"precision": "bf16"}, "precision is one of fp32, fp64"),
        ({"products": 0}, "at least 1 product"),
        ({"residual": -1.0}, "residual of at least 0"),
        ({"weight_decay": -1.0}, "must be at least 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        smallest_hessian_eigenvalue(snapshot(linear()), **options)


SPEC = """
name: curvature
stages:
  train:
    workload: train
    data: {name: digits, subset: 60}
    model: {name: mlp, width: 4, depth: 1}
    optimizer: {name: sgd, lr: 0.1}
    stop: {epochs: 2}
    events: [{name: record, every: 2, measures: [gradient_norm, largest_hessian_eigenvalue]}]
  before: {workload: measure, from: train.start, measures: [smallest_hessian_eigenvalue]}
  after:
    workload: measure
    from: train
    measures: [gradient_norm, smallest_hessian_eigenvalue, largest_hessian_eigenvalue]
tables:
  ends: {values: [after.smallest_hessian_eigenvalue, after.smallest_hessian_eigenvalue_residual]}
"""


def test_a_sweep_reports_an_eigenvalue_with_its_residual_and_sign(tmp_path: Path):
    spec, store = tmp_path / "curvature.yaml", tmp_path / "store"
    spec.write_text(SPEC)
    run = sweep("run", spec, "--store", store, "--inline")
    assert run.returncode == 0, run.stderr
    assert "smallest_hessian_eigenvalue_residual" in run.stdout
    found = {name: column[0] for name, column in results(store, "curvature").items()}
    assert found["metric.after.smallest_hessian_eigenvalue"] < found["metric.largest_hessian_eigenvalue"]
    for stage in ("before", "after"):
        assert 0 <= found[f"metric.{stage}.smallest_hessian_eigenvalue_residual"] < 2e-3
        assert found[f"metric.{stage}.smallest_hessian_eigenvalue_sign"] in (-1, 0, 1)
    assert found["metric.largest_hessian_eigenvalue_sign"] == 1
