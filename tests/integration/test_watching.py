"""`sweep status`, `logs`, `stop` and `run --only`, from other processes than the one that runs the sweep."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

REPO = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "orchestrator.cli"]
SLOW = """
name: slow
stages:
  first: {workload: tests.toys.trouble, steps: 4000, pause: 0.05}
axes:
  seed: 2
"""
BAD = """
name: bad
stages:
  first: {workload: tests.toys.trouble, steps: 2}
axes:
  trouble:
    no: {}
    yes: {first.trouble: error}
"""


def sweep(*arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=REPO, input=typed, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize("engine", [["--inline"], ["--jobs", "1"]], ids=["inline", "ray"])
def test_a_sweep_is_seen_and_stopped_from_another_process(tmp_path: Path, engine: list[str]) -> None:
    (tmp_path / "slow.yaml").write_text(SLOW)
    store = tmp_path / "store"
    command = [*COMMAND, "run", str(tmp_path / "slow.yaml"), "--store", str(store), "--plain", *engine]
    with open(tmp_path / "said", "w") as said:
        run = subprocess.Popen(command, cwd=REPO, stdout=said, stderr=said)
    until = time.monotonic() + 120
    while "running" not in (seen := sweep("status", "--store", store).stdout):
        assert run.poll() is None, (tmp_path / "said").read_text()
        assert time.monotonic() < until, seen
    assert f"run by process {run.pid} on {os.uname().nodename}" in seen
    stopped = sweep("stop", "slow", "--store", store)
    assert stopped.returncode == 0, stopped.stderr
    assert f"process {run.pid} on {os.uname().nodename} has stopped" in stopped.stdout
    assert run.wait(60) == 143
    assert "stopping: asked by" in (tmp_path / "said").read_text()
    assert not [*(store / "work" / "leases").iterdir(), *(store / "work" / "drivers").iterdir()]
    assert sweep("stop", "slow", "--store", store).stdout == "slow is not running\n"
    assert sweep("status", "slow", "--follow", "--store", store).stdout == "slow: 0 of 2 trials, 0 of 2 nodes done\n"


def test_a_failed_trial_says_how_to_debug_it_and_the_command_works(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    store = tmp_path / "store"
    first = sweep("run", tmp_path / "bad.yaml", "--store", store, "--inline", "--plain")
    assert first.returncode == 1
    line = next(line for line in first.stdout.splitlines() if line.strip().startswith("sweep run"))
    assert line.endswith("--inline --debug")
    assert "trouble=yes" in first.stdout
    assert "RuntimeError: this never works" in first.stdout
    alone = sweep(*line.split()[1:], typed="p config.trouble\nup\np config.trouble\nq\n")
    assert alone.returncode == 1
    assert "(Pdb)" in alone.stdout
    assert "'error'" in alone.stdout, "the frame of the workload can be looked at"
    assert pyarrow.parquet.read_table(store / "records" / "bad" / "trials.parquet").num_rows == 2, "of the whole plan"
    key = line.split("--only ")[1].split()[0]
    assert f"  tracebacks: sweep logs bad --store {store} --trial KEY" in sweep("status", "--store", store).stdout
    logs = sweep("logs", "bad", "--trial", key, "--store", store).stdout
    assert "failed on" in logs
    assert "Traceback" in logs
    assert sweep("logs", "bad", "--trial", "zz", "--store", store).returncode == 2
    assert sweep("stop", "nobody", "--store", store).returncode == 2
