"""The pages of MLflow that a finished sweep fills, in a real browser; screenshots are kept with the test's output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestrator.store import Store
from orchestrator.to_mlflow.server import address as served_at
from orchestrator.to_mlflow.server import embedded_uri
from tests.chromium import PROGRAM, browser
from tests.integration.servers import free_port
from tests.integration.test_sweep import REPO

pytestmark = [pytest.mark.mlflow, pytest.mark.timeout(300)]
TRIALS = 3
NAME = "quickstart@smoke"
# The cell of a run's name has a button that shows its children.
CELLS = "[...document.querySelectorAll('[role=gridcell]')]"
EXPAND = f"{CELLS}.find(cell => cell.innerText.includes('{NAME}'))?.querySelector('button')"


@contextmanager
def user_interface(store: Path) -> Iterator[str]:
    """`sweep ui`, as a user starts it; its address."""
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "--store", str(store), "--port", str(free_port())]
    server = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("MLflow: http://127.0.0.1:"), line
        yield line.split()[1]
    finally:
        server.terminate()
        server.wait(30)


def runs(store: Path) -> tuple[str, dict[str, str]]:
    """The experiment's number, and its runs by name."""
    from mlflow import MlflowClient

    client = MlflowClient(embedded_uri(Store.at(store)))
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return experiment.experiment_id, {run.info.run_name or "": run.info.run_id for run in found}


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed: MLflow's pages are not opened in a browser")
def test_the_pages_of_a_finished_quickstart(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    command = [sys.executable, "-m", "orchestrator.cli", "run", "sweeps/quickstart.yaml", "--scale", "smoke"]
    subprocess.run([*command, "--store", str(store), "--inline", "--quiet"], cwd=REPO, check=True)
    experiment, ids = runs(store)
    trials = [name for name in ids if "treatment=" in name and "seed=" in name]
    assert len(trials) == TRIALS, ids
    with user_interface(store) as address, browser() as page:
        pages = f"{address}/#/experiments/{experiment}/runs"
        assert served_at(Store.at(store)) == address
        page.visit(pages, 1400)
        page.shows("Training runs", NAME)
        page.click(EXPAND)
        page.shows(*trials)
        page.screenshot(tmp_path / "runs.png", whole=False)

        compared = [ids[name] for name in trials[:2]]
        page.visit(
            f"{address}/#/compare-runs?runs={quote(json.dumps(compared))}&experiments={quote(json.dumps([experiment]))}",
            1600,
        )
        page.shows("Comparing 2 Runs", "Parallel Coordinates Plot", *trials[:2])
        page.wait_for("document.querySelectorAll('.js-plotly-plot svg').length > 0")
        page.screenshot(tmp_path / "compared.png", whole=False)

        page.visit(f"{pages}/{ids[NAME]}/artifacts", 1400)
        page.shows("Artifacts", "figures", "report", "tables", "claims.txt", "plan.json", "spec.yaml")
        page.screenshot(tmp_path / "artifacts.png", whole=False)
        page.visit(f"{pages}/{ids[NAME]}/artifacts/figures/escape.svg", 1400)
        page.wait_for("[...document.images].some(image => image.src.startsWith('blob:') && image.naturalWidth > 100)")
        page.screenshot(tmp_path / "figure.png", whole=False)
        page.visit(f"{pages}/{ids[NAME]}/artifacts/report/index.html", 1400)
        page.wait_for("document.querySelectorAll('iframe').length > 0")
        page.screenshot(tmp_path / "report.png", whole=False)
        assert not [asked for asked in page.requests if not asked.startswith((address, "data:", "blob:", "about:"))]
