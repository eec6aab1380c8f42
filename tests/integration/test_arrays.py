"""Arrays through real Ray: only speed tells that nodes were computed together; interrupted ones go on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.integration.test_sweep import REPO, TRAIN, executed, results, sweep, weights

WALKS = """
name: walks
stages:
  first:  {workload: tests.toys.walk, steps: 4}
  second: {workload: tests.toys.walk, from: first, steps: 3}
axes:
  fate:
    fine:  {}
    falls: {second.fails_at: 1}
  seed: 5
tables:
  norms: {rows: [fate], values: [norm]}
"""


def outcomes(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(store.glob("nodes/??/*/outcome.json"))]


def array_column(store: Path, name: str) -> list[Any]:
    return pyarrow.parquet.read_table(store / "records" / name / "trials.parquet").column("meta.array").to_pylist()


@pytest.mark.ray
@pytest.mark.mlflow
def test_together_or_not_the_records_are_the_same_and_one_that_fails_harms_no_other(tmp_path: Path):
    spec = tmp_path / "walks.yaml"
    spec.write_text(WALKS)
    ways = {
        "off": ["--array", "off", "--inline"],
        "three": ["--array", "3", "--jobs", "2"],
        "inline": ["--array", "8", "--inline"],
    }
    for way, options in ways.items():
        run = sweep("run", spec, "--store", tmp_path / way, "--plain", *options)
        assert run.returncode == 1, run.stderr
        assert executed(run.stdout) == 5 + 5
    expected = results(tmp_path / "off", "walks")
    assert sorted(expected["status"]) == ["done"] * 5 + ["failed"] * 5
    for way, at_most in (("three", 3), ("inline", 8)):
        assert results(tmp_path / way, "walks") == expected
        assert weights(tmp_path / way) == weights(tmp_path / "off")
        assert {item["meta"].get("array") for item in outcomes(tmp_path / way)} <= {None, *range(2, at_most + 1)}
        assert any(item["meta"].get("array") for item in outcomes(tmp_path / way))
        assert not [*(tmp_path / way / "work").glob("*/checkpoint*")]
    assert not any("array" in item["meta"] for item in outcomes(tmp_path / "off"))


@pytest.mark.ray
@pytest.mark.mlflow
def test_trainings_in_arrays_have_the_same_keys_and_in_float64_the_same_results(tmp_path: Path):
    spec = tmp_path / "tiny.yaml"
    spec.write_text(TRAIN.replace("batch_size: 32", "batch_size: 32\n    precision: fp64"))
    for way, options in {"off": ["--inline"], "together": ["--array", "4", "--jobs", "1"]}.items():
        run = sweep("run", spec, "--store", tmp_path / way, "--plain", *options)
        assert run.returncode == 0, run.stderr
        assert "1 worker x 1 thread" in run.stdout
        assert ("arrays off" if way == "off" else "arrays of 4") in run.stdout
    alone, together = (results(tmp_path / way, "tiny") for way in ("off", "together"))
    assert alone.keys() == together.keys()
    for column, values in alone.items():
        assert together[column] == (pytest.approx(values, abs=1e-9) if column.startswith("metric.") else values)
    assert weights(tmp_path / "off").keys() == weights(tmp_path / "together").keys()
    assert {item["meta"].get("array") for item in outcomes(tmp_path / "together")} == {2, 4}
    recorded = {way: array_column(tmp_path / way, "tiny") for way in ("off", "together")}
    assert set(recorded["off"]) == {None}
    assert all(set(text.split(", ")) <= {"2", "4"} for text in recorded["together"])


LONG = """
name: long
stages:
  walk: {workload: tests.toys.walk, steps: 30, pause: 0.1}
axes:
  seed: 1
tables:
  norms: {values: [norm]}
"""


@pytest.mark.ray
@pytest.mark.mlflow
def test_a_killed_worker_goes_on_from_its_checkpoint(tmp_path: Path):
    spec = tmp_path / "long.yaml"
    spec.write_text(LONG)
    assert sweep("run", spec, "--store", tmp_path / "undisturbed", "--inline", "--quiet").returncode == 0
    command = [sys.executable, "-m", "orchestrator.cli", "run", spec, "--store", tmp_path / "killed", "--json"]
    environment = os.environ | {"SWEEP_CHECKPOINT_SECONDS": "0.3"}
    with subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        started = next(event for line in driver.stdout if (event := json.loads(line))["event"] == "node_started")
        checkpoint = tmp_path / "killed" / "work" / started["key"] / "checkpoint.safetensors"
        deadline = time.monotonic() + 60
        while not checkpoint.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(int(started["worker"].rpartition(":")[2]), signal.SIGKILL)
        events = [json.loads(line) for line in driver.stdout]
    assert driver.returncode == 0
    assert results(tmp_path / "killed", "long") == results(tmp_path / "undisturbed", "long")
    assert weights(tmp_path / "killed") == weights(tmp_path / "undisturbed")
    (outcome,) = outcomes(tmp_path / "killed")
    assert outcome["meta"]["resumed_at"] > 0
    again = next(place for place, event in enumerate(events) if event["event"] == "node_started")
    steps = [event["step"] for event in events[again:] if event["event"] == "node_logged"]
    assert steps == [*range(outcome["meta"]["resumed_at"] + 1, 31)], "it made no step twice"
    assert not checkpoint.parent.exists(), "a finished node leaves no checkpoint"


def test_a_damaged_checkpoint_is_none(tmp_path: Path):
    spec = tmp_path / "long.yaml"
    spec.write_text(LONG.replace("steps: 30, pause: 0.1", "steps: 3"))
    plan = json.loads(sweep("plan", spec, "--store", tmp_path / "store", "--json").stdout)
    assert plan["trials"] == 1
    first = sweep("run", spec, "--store", tmp_path / "first", "--inline", "--json")
    key = next(event["key"] for line in first.stdout.splitlines() if (event := json.loads(line)).get("key"))
    folder = tmp_path / "store" / "work" / key
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00half a header")
    assert sweep("run", spec, "--store", tmp_path / "store", "--inline", "--quiet").returncode == 0
    assert results(tmp_path / "store", "long") == results(tmp_path / "first", "long")
    assert "resumed_at" not in outcomes(tmp_path / "store")[0]["meta"]
