"""What a run leaves at its end without being asked: report and figures, in the store and on its MLflow run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.store import Store
from orchestrator.to_mlflow.server import embedded_uri
from tests.command import sweep_here

SPEC = """
name: ends
stages:
  step: {workload: tests.toys.walk}
axes:
  step.steps: [1, 2]
  seed: 2
tables:
  values: {rows: [step.steps], values: [norm]}
figures:
  line: {x: step.steps, y: norm}
  wrong: {kind: histogram, stage: step, x: nothing_of_this_name}
"""
KEPT = ("report/index.html", "figures/line.svg")


def run(spec: Path, store: Path) -> str:
    done = sweep_here("run", spec, "--store", store, "--inline", "--plain")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.mlflow
def test_a_run_ends_with_its_report_and_a_figure_that_fails_costs_no_other(tmp_path: Path):
    from mlflow import MlflowClient

    spec, store = tmp_path / "ends.yaml", tmp_path / "runs"
    spec.write_text(SPEC)
    said = run(spec, store)
    folder = store / "sweeps" / "ends"
    made = {name: (folder / name).read_bytes() for name in KEPT}
    assert f"Report    {folder / 'report' / 'index.html'}" in said
    assert f"MLflow    sweep ui --store {store} (prints its address)" in said

    client = MlflowClient(embedded_uri(Store.at(store)))
    experiment = client.get_experiment_by_name("ends")
    assert experiment is not None
    [parent] = [
        item
        for item in client.search_runs([experiment.experiment_id])
        if item.data.tags["sweep.key"].startswith("sweep-run-")
    ]
    for name, content in made.items():
        assert Path(client.download_artifacts(parent.info.run_id, name, str(tmp_path))).read_bytes() == content
    assert "figures/wrong.svg was not made: NotFound: " in said

    assert sweep_here("report", "ends", "--store", store).returncode == 0
    assert (folder / "report" / "index.html").read_bytes() == made["report/index.html"], "`sweep report` makes the same"

    (folder / "report" / "index.html").unlink()
    assert "Report    sweep report ends" in run(spec, store), "where nothing is computed, nothing is made anew"
