"""Adaptive seeds through real runs: the same seeds inline and on Ray; MLflow has what was wanted."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.integration.test_sweep import executed, results, sweep

SPEC = """
name: drifting
stages:
  walk: {workload: tests.toys.walk, steps: 3}
axes:
  walk.steps: [2, 40]
  seed: {until: {metric: norm, standard_error: 0.85}, at_least: 3, at_most: 8}
tables:
  norms: {rows: [walk.steps], values: [norm]}
claims:
  longer_is_further:
    says: A longer walk ends further away.
    metric: norm
    compare: {axis: walk.steps, high: 40, low: 2}
    at_least: 0
"""


@pytest.mark.ray
@pytest.mark.mlflow
def test_seeds_are_added_until_the_rule_holds_however_the_sweep_runs(tmp_path: Path):
    spec = tmp_path / "drifting.yaml"
    spec.write_text(SPEC)
    inline = sweep("run", spec, "--store", tmp_path / "inline", "--inline", "--json")
    assert inline.returncode == 0, inline.stderr
    events = [json.loads(line) for line in inline.stdout.splitlines()]
    found = results(tmp_path / "inline", "drifting")
    steps = found["axis.walk.steps"]
    assert {length: steps.count(length) for length in (2, 40)} == {2: 3, 40: 8}
    assert events[0]["trials"] == 6
    assert sum(len(event["trials"]) for event in events if event["event"] == "trials_added") == 5
    assert next(event for event in events if event["event"] == "sweep_ended")["trials_done"] == 11

    ray = sweep("run", spec, "--store", tmp_path / "ray", "--jobs", "2", "--plain")
    assert ray.returncode == 0, ray.stderr
    assert "11 trials: 11 done" in ray.stdout
    assert "95 %, sequential (adaptive seeds))" in ray.stdout
    assert results(tmp_path / "ray", "drifting") == found
    assert executed(sweep("run", spec, "--store", tmp_path / "ray", "--plain").stdout) == 0
    with sqlite3.connect(tmp_path / "ray" / "mlflow.db") as database:
        runs = dict(database.execute("select status, count(*) from runs group by status"))
    assert runs == {"FINISHED": 12}  # and the parent

    wider = sweep("run", spec, "--store", tmp_path / "ray", "--inline", "--plain", "--set", "seed=10")
    assert executed(wider.stdout) == 20 - 11


def test_status_and_plan_count_the_seeds_that_are_asked_for(tmp_path: Path):
    spec = tmp_path / "drifting.yaml"
    spec.write_text(SPEC)
    planned = sweep("plan", spec, "--store", tmp_path / "store", "--json")
    assert json.loads(planned.stdout)["trials"] == 6
    assert sweep("run", spec, "--store", tmp_path / "store", "--inline", "--quiet").returncode == 0
    status = sweep("status", "--store", tmp_path / "store")
    assert "11 of 11 trials" in status.stdout
