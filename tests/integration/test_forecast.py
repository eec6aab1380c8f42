"""The forecast of a real sweep, made after one run with another seed, against what the sweep then takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.plan import plan
from orchestrator.spec import parse_set, read
from orchestrator.storage import index
from orchestrator.store import Store
from tests.integration.test_sweep import REPO, sweep

QUICKSTART = REPO / "sweeps" / "quickstart.yaml"
SMALLER = ["confusion=[0, 400]", "treatment=[vanilla]", "go_on.stop.epochs=20"]  # the whole takes minutes
FACTOR = 1.5


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_quickstart_costs_what_was_forecast_from_another_seed(tmp_path: Path):
    options = [word for text in SMALLER for word in ("--set", text)] + ["--store", tmp_path / "store"]
    first = sweep("run", QUICKSTART, *options, "--set", "seed=[7]", "--quiet", timeout=280)
    assert first.returncode == 0, first.stderr
    shown = json.loads(sweep("plan", QUICKSTART, *options, "--json").stdout)
    assert shown["forecast"]["basis"] == "measured"
    assert sum(counts["to_do"] for counts in shown["stages"].values()) == 3 * (2 + 2 + 2 * 3)
    forecast = 3600 * shown["forecast"]["cpu_hours"]

    second = sweep("run", QUICKSTART, *options, "--quiet", timeout=280)
    assert second.returncode == 0, second.stderr
    nodes = plan(read(QUICKSTART, None, dict(map(parse_set, SMALLER))), tmp_path).nodes
    outcomes = index.known(Store.at(tmp_path / "store"), nodes).values()
    taken = sum(float(outcome.meta["cpu_seconds"] or 0) for outcome in outcomes)
    print(f"forecast {forecast:.1f} CPU-seconds, taken {taken:.1f}: a factor of {forecast / taken:.2f}")
    assert taken / FACTOR <= forecast <= taken * FACTOR
