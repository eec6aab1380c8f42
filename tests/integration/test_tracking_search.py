"""`mlflow.search_runs` finds trials by any axis and returns the numbers of the records, exactly."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest

from orchestrator.findings.levels import level_text
from orchestrator.store import Store
from orchestrator.to_mlflow.naming import mlflow_name
from orchestrator.to_mlflow.server import embedded_uri
from tests.command import sweep_here

pytestmark = [pytest.mark.mlflow, pytest.mark.timeout(300)]
SWEEP = """
name: search
stages:
  first:  {workload: tests.toys.chatty, x: 2, steps: 3}
  second: {workload: tests.toys.chatty, from: first, steps: 6}
  measure: {workload: measure, from: fit, measures: [parameter_norm, test_loss, margin]}
  fit:
    workload: train
    data: {name: digits, subset: 100}
    model: {name: mlp, width: 8, depth: 1}
    optimizer: {name: sgd, lr: 0.1}
    stop: {epochs: 1}
axes:
  second.x: [0.1, 2, 1e-5, 3e20]
  recipe:
    plain:        {fit.optimizer.momentum: 0}
    "mu^2 = 0.9": {fit.optimizer.momentum: 0.9}
  fit.data.normalize: [true, false]
  seed: 2
"""


def test_search_runs_agrees_with_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    spec, store = tmp_path / "search.yaml", Store.at(tmp_path / "store")
    spec.write_text(SWEEP)
    run = sweep_here("run", spec, "--store", store.root, "--inline", "--quiet")
    assert run.returncode == 0, run.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", embedded_uri(store))
    records = pyarrow.parquet.read_table(store.root / "records" / "search" / "trials.parquet").to_pandas()
    metrics = [name for name in records.columns if name.startswith("metric.")]
    axes = [name for name in records.columns if name.startswith("axis.")]
    assert (len(records), len(axes)) == (32, 4)
    assert len(metrics) >= 4
    for axis in axes:
        for level, rows in records.groupby(axis):
            name = mlflow_name(axis.removeprefix("axis."))
            found = mlflow.search_runs(
                experiment_names=["search"], filter_string=f"params.`{name}` = '{level_text(level)}'"
            )
            trials = found[found["tags.sweep.stage"] == "second, measure"].set_index("tags.sweep.key")
            assert sorted(trials.index) == sorted(rows["meta.trial"])
            for metric in metrics:
                column = f"metrics.{mlflow_name(metric.removeprefix('metric.'))}"
                assert trials[column].loc[rows["meta.trial"]].tolist() == rows[metric].tolist()
    assert (records["metric.third"] != records["metric.third"].round(3)).any(), "numbers that rounding would change"
