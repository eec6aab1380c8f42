"""The whole path with real Ray and MLflow: however a sweep ran, was killed or went on, its records are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet
import pytest

from tests.command import can_be_here, sweep_here

REPO = Path(__file__).resolve().parents[2]
SWEEP = """
name: chain
stages:
  first:  {workload: tests.toys.noop, x: 1, sleep: SLEEP}
  second: {workload: tests.toys.noop, from: first, sleep: SLEEP}
axes:
  second.x: [1, 2, 3]
  seed: 4
tables:
  values: {rows: [second.x], values: [value]}
claims:
  grows: {says: The value grows with x., metric: value, increasing: second.x}
"""
TRAIN = """
name: tiny
stages:
  fit:
    workload: train
    data: {name: digits, subset: 200, confusion: 50}
    model: {name: mlp, width: 16, depth: 1}
    optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
    batch_size: 32
    stop: {epochs: 4}
  go_on:
    workload: train
    start: {from: fit}
    data: {name: digits, subset: 200}
    optimizer: {name: sgd, lr: 0.1}
    batch_size: 32
    stop: {epochs: 3}
  measure: {workload: measure, from: go_on, measures: [test_accuracy, distance_from_start]}
axes:
  go_on.optimizer.weight_decay: [0, 0.01]
  seed: 2
tables:
  accuracy: {rows: [go_on.optimizer.weight_decay], values: [test_accuracy, distance_from_start]}
"""


def sweep(*arguments: object, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """One command: a run with Ray in a process of its own, all others in this one."""
    if can_be_here(*arguments):
        return sweep_here(*arguments)
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=timeout)


def results(store: Path, name: str) -> dict[str, list]:
    """Every column that must not depend on how the sweep ran."""
    table = pyarrow.parquet.read_table(store / "records" / name / "trials.parquet")
    return {column: table[column].to_pylist() for column in table.column_names if not column.startswith("meta.")}


def weights(store: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in store.glob("nodes/??/*/*.safetensors")}


def executed(output: str) -> int:
    """How many nodes a run says it executed."""
    return int(output.split(" nodes executed")[0].split()[-1])


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.yaml"
    path.write_text(SWEEP.replace("SLEEP", "0"))
    return path


def test_inline_run_computes_shared_nodes_once_and_then_nothing(chain: Path, tmp_path: Path):
    store = tmp_path / "store"
    first = sweep("run", chain, "--store", store, "--inline", "--plain")
    assert first.returncode == 0, first.stderr
    assert executed(first.stdout) == 4 + 12
    assert results(store, "chain")["metric.value"] == [
        float(10 * x + seed + 10 + seed) for x in (1, 2, 3) for seed in range(4)
    ]
    assert "supported" in first.stdout
    again = sweep("run", chain, "--store", store, "--inline", "--plain")
    assert executed(again.stdout) == 0
    assert sweep("table", "chain", "--store", store).stdout.strip() in first.stdout


@pytest.mark.ray
@pytest.mark.mlflow
def test_ray_jobs_and_inline_agree_to_the_byte(tmp_path: Path):
    spec = tmp_path / "tiny.yaml"
    spec.write_text(TRAIN)
    ways = {"inline": ["--inline"], "one": ["--jobs", "1"], "two": ["--jobs", "2"]}
    for way, options in ways.items():
        run = sweep("run", spec, "--store", tmp_path / way, "--plain", *options)
        assert run.returncode == 0, run.stderr
    tables = {way: sweep("table", "tiny", "--store", tmp_path / way).stdout for way in ways}
    for way in ("one", "two"):
        assert results(tmp_path / way, "tiny") == results(tmp_path / "inline", "tiny")
        assert weights(tmp_path / way) == weights(tmp_path / "inline")
        assert tables[way] == tables["inline"] != ""
    assert len(weights(tmp_path / "one")) == 2 * 2 + 4  # fit has a start of its own, go_on starts from fit


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.timeout(300)
def test_killed_driver_loses_nothing_that_was_finished(chain: Path, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert sweep("run", chain, "--store", whole, "--inline", "--plain").returncode == 0
    chain.write_text(SWEEP.replace("SLEEP", "0.4"))
    slow = tmp_path / "slow"
    assert sweep("run", chain, "--store", slow, "--inline", "--plain").returncode == 0
    driver = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "run", str(chain), "--store", str(killed), "--jobs", "2", "--plain"],
        cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    rows = killed / "nodes" / "rows"
    deadline = time.monotonic() + 150
    while not rows.is_dir() or sum(1 for _ in rows.glob("*.jsonl")) < 3:
        assert time.monotonic() < deadline, "it has not begun"
        time.sleep(0.05)
    family = psutil.Process(driver.pid).children(recursive=True)
    names = {process: process.name() for process in family if process.is_running()}
    # Not Ray's agents: they commit nothing, and outlive the driver by a minute.
    workers = [process for process, name in names.items() if name.startswith("ray::") and not name.endswith("Agent")]
    assert workers
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not psutil.wait_procs(workers, timeout=90)[1], "what they were committing is on disk now"
    before = sum(len(path.read_text().splitlines()) for path in rows.glob("*.jsonl"))
    again = sweep("run", chain, "--store", killed, "--jobs", "2", "--plain")
    assert again.returncode == 0, again.stderr
    assert 0 < before < 16
    assert executed(again.stdout) == 16 - before
    assert results(killed, "chain") == results(slow, "chain")
    assert results(killed, "chain")["metric.value"] == results(whole, "chain")["metric.value"]


def test_failing_node_is_a_row_and_the_rest_goes_on(tmp_path: Path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "unlucky.py").write_text(
        "from workloads.contract import Config, Context, Result\n"
        "class UnluckyConfig(Config):\n    x: float = 0.0\n"
        "def run(config: UnluckyConfig, context: Context) -> Result:\n"
        "    if config.x == 2:\n        raise RuntimeError('two is unlucky')\n"
        "    return Result(metrics={'value': config.x})\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "name: unlucky\nstages:\n  a: {workload: own.unlucky}\n  b: {workload: tests.toys.noop, from: a}\n"
        "axes: {a.x: [1, 2, 3]}\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPO}"}
    command = [sys.executable, "-m", "orchestrator.cli", "run", "sweep.yaml", "--inline", "--plain"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert run.returncode == 1
    assert "two is unlucky" in run.stdout + run.stderr
    found = results(tmp_path / "runs", "unlucky")
    assert found["status"][0] == found["status"][2] == "done"
    assert found["status"][1] in ("failed", "skipped")
    assert "two is unlucky" in found["error"][1]
