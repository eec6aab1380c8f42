"""Interrupted in the middle, through real Ray: what was killed goes on and ends as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from tests.integration.test_arrays import outcomes
from tests.integration.test_sweep import REPO, results, weights

WALKS = """
name: walks
stages:
  walk: {workload: tests.toys.walk, steps: 20, pause: 0.05}
axes:
  seed: 3
tables:
  norms: {values: [norm]}
"""
CHAINS = """
name: chains
stages:
  first:  {workload: tests.toys.walk, steps: 4, pause: 0.5}
  second: {workload: tests.toys.walk, from: first, steps: 1}
axes:
  seed: 5
tables:
  norms: {values: [norm]}
"""
TRAIN = """
name: nets
stages:
  fit:
    workload: train
    data: {name: digits, subset: 500}
    model: {name: mlp, width: 64, depth: 2, dropout: 0.2}
    optimizer: {name: sgd, lr: 0.02, momentum: 0.9}
    batch_size: 16
    stop: {epochs: 40}
axes:
  seed: 2
tables:
  accuracy: {values: [train_accuracy]}
"""


def start(spec: Path, store: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(spec), "--store", str(store), "--json", *options]
    environment = os.environ | {"SWEEP_CHECKPOINT_SECONDS": "0.2"}
    return subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True)


def inline(spec: Path, store: Path) -> int:
    return main(["run", str(spec), "--store", str(store), "--inline", "--quiet"])


def pid(event: dict[str, Any]) -> int:
    return int(event["worker"].rpartition(":")[2])


def first_worker(driver: subprocess.Popen[str]) -> int:
    """The process that begins the first node, once it has."""
    assert driver.stdout is not None
    return next(pid(event) for line in driver.stdout if (event := json.loads(line))["event"] == "node_started")


def read(driver: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The events until the driver ends."""
    assert driver.stdout is not None
    return [json.loads(line) for line in driver.stdout]


def wait_for(store: Path, checkpoints: int) -> None:
    deadline = time.monotonic() + 90
    while len([*store.glob("work/*/checkpoint.safetensors")]) < checkpoints:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps(events: Sequence[dict[str, Any]], key: str) -> list[int]:
    return [event["step"] for event in events if event["event"] == "node_logged" and event["key"] == key]


@pytest.mark.ray
@pytest.mark.mlflow
def test_a_killed_array_goes_on_with_each_of_its_networks(tmp_path: Path):
    spec, undisturbed, killed = tmp_path / "walks.yaml", tmp_path / "undisturbed", tmp_path / "killed"
    spec.write_text(WALKS)
    assert inline(spec, undisturbed) == 0
    with start(spec, killed, "--array", "3", "--jobs", "1") as driver:
        worker = first_worker(driver)
        wait_for(killed, 3)
        os.kill(worker, signal.SIGKILL)
        events = read(driver)
    assert driver.returncode == 0
    assert results(killed, "walks") == results(undisturbed, "walks")
    assert weights(killed) == weights(undisturbed)
    found = outcomes(killed)
    assert [item["meta"]["array"] for item in found] == [3] * 3
    for item in found:
        resumed = item["meta"]["resumed_at"]
        again = [place for place, event in enumerate(events) if event["event"] == "node_started"
                 and event["key"] == item["key"] and pid(event) != worker]  # fmt: skip
        assert len(again) == 1
        assert steps(events[again[0] :], item["key"]) == [*range(resumed + 1, 21)], "it made no step twice"
        assert resumed > 0
    assert not [*killed.glob("work/*/checkpoint*")]


@pytest.mark.ray
@pytest.mark.mlflow
def test_dependants_are_released_while_their_parents_array_goes_on(tmp_path: Path):
    """Five in two workers of two slots: three and two. The third waits for a slot; the others' children do not."""
    spec = tmp_path / "chains.yaml"
    spec.write_text(CHAINS)
    with start(spec, tmp_path / "store", "--array", "2", "--jobs", "2") as driver:
        events = read(driver)
    assert driver.returncode == 0
    assert [event["event"] for event in events[:2]] == ["sweep_planned", "sweep_started"]
    packing = events[1]["packing"]
    assert packing.startswith("2 workers x 1 thread on ")
    assert packing.endswith("; arrays of 2")
    assert packing in (tmp_path / "store" / "sweeps" / "chains" / "run.log").read_text()
    places = {(event["event"], event.get("node")): place for place, event in enumerate(events)}
    workers = {event["node"]: event["worker"] for event in events if event["event"] == "node_started"}
    of = [workers[f"first seed={seed}"] for seed in range(5)]
    beside = [f"seed={seed}" for seed in range(5) if of.count(of[seed]) == 3]
    assert len(beside) == 3
    last = max((f"first {seed}" for seed in beside), key=lambda label: places["node_done", label])
    assert places["node_started", last] > min(places["node_done", f"first {seed}"] for seed in beside), "slots refill"
    released = [seed for seed in beside if places["node_started", f"second {seed}"] < places["node_done", last]]
    assert len(released) == 2
    assert {item["meta"].get("array") for item in outcomes(tmp_path / "store")} == {2}


@pytest.mark.ray
@pytest.mark.mlflow
def test_trainings_of_a_killed_driver_go_on_to_the_same_bytes(tmp_path: Path):
    spec, undisturbed, killed = tmp_path / "nets.yaml", tmp_path / "undisturbed", tmp_path / "killed"
    spec.write_text(TRAIN)
    assert inline(spec, undisturbed) == 0
    with start(spec, killed, "--jobs", "1") as driver:
        worker = first_worker(driver)
        wait_for(killed, 1)
        driver.kill()
        os.kill(worker, signal.SIGKILL)  # it lives a moment longer, and might leave one more checkpoint
    assert inline(spec, killed) == 0
    assert results(killed, "nets") == results(undisturbed, "nets")
    assert weights(killed) == weights(undisturbed)
    assert 0 < max(item["meta"].get("resumed_at", 0) for item in outcomes(killed)) < 40
    assert not [*killed.glob("work/*/checkpoint*")]
