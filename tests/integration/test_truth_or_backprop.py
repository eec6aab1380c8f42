"""What the sweeps of "Truth or Backpropaganda" share; that published cells, those of both papers, are cells of ours."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from orchestrator.plan import plan
from orchestrator.spec import read
from tests.integration.test_sweep import REPO

FOLDER = REPO / "sweeps" / "truth_or_backprop"


def test_the_sweep_over_mu_has_the_trainings_of_table_4(tmp_path: Path):
    table4, over_mu = (
        plan(read(FOLDER / f"{name}.yaml"), tmp_path).nodes.keys()
        for name in ("table4_norm_bias_normalized", "table4_mu2")
    )
    trainings_and_measures = 2 * 10 * (1 + 3)  # ResNet-18 and DenseNet-40 are published at mu^2 = 2500; ten seeds
    assert len(table4 & over_mu) >= trainings_and_measures


def test_raw_and_normalized_images_share_nothing(tmp_path: Path):
    raw, normalized = (
        plan(read(FOLDER / f"{name}.yaml"), tmp_path).nodes.keys()
        for name in ("table3_norm_bias_raw", "table4_norm_bias_normalized")
    )
    assert not raw & normalized


@pytest.mark.parametrize("path", sorted(FOLDER.parent.rglob("*.csv")), ids=lambda path: path.stem)
def test_every_published_cell_is_one_of_ours(path: Path, tmp_path: Path):
    made = plan(read(path.with_suffix(".yaml")), tmp_path)
    trials = [planned.trial for planned in made.trials]
    levels = {axis: {str(trial.levels[axis]) for trial in trials} for axis in trials[0].levels}
    short = {axis.rpartition(".")[2]: axis for axis in levels}
    metrics = {metric for table in made.spec.tables.values() for metric in table.values}
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines
    for line in lines:
        assert line["metric"] in metrics
        axes = [name for name in line if name not in ("metric", "value", "spread", "statistic", "n")]
        assert all(line[name] in levels[short.get(name, name)] for name in axes), line
