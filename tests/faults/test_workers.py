"""Worker processes that are killed, taken away, run out of memory, or hang."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.frontier import ATTEMPTS
from orchestrator.store import Store
from tests.faults.processes import (
    WAIT,
    Driver,
    assert_undisturbed,
    finish,
    gone,
    outcomes,
    records,
    sweep,
    wait_for,
    weights,
    worker,
)

TROUBLE = """
name: trouble
stages:
  a: {workload: tests.toys.trouble, steps: 4, SETTINGS}
  b: {workload: tests.toys.trouble, from: a}
axes:
  a.x: [1, 2, 3]
tables:
  values: {rows: [a.x], values: [value]}
"""


def trouble(folder: Path, settings: str) -> Path:
    path = folder / "trouble.yaml"
    path.write_text(TROUBLE.replace("SETTINGS", settings))
    return path


def only_second(how: str, settings: str = "pause: 0.05") -> str:
    """The trouble is only where x is 2."""
    return f"""
name: trouble
stages:
  a: {{workload: tests.toys.trouble, steps: 4, {settings}}}
  b: {{workload: tests.toys.trouble, from: a}}
axes:
  x:
    one: {{a.x: 1}}
    two: {{a.x: 2, a.trouble: {how}}}
    three: {{a.x: 3}}
tables:
  values: {{rows: [x], values: [value]}}
"""


def runs(log: Path) -> dict[str, int]:
    """How often each node was run, by its x and seed."""
    lines = [" ".join(line.split()[:2]) for line in log.read_text().splitlines()]
    return {line: lines.count(line) for line in lines}


def state(store: Path, key: str) -> str | None:
    """Whether a training has kept a checkpoint, or is done already."""
    if (store / "work" / key / "checkpoint.safetensors").exists():
        return "kept"
    return "done" if (Store(store).node_folder(key) / "outcome.json").exists() else None


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_killed_in_the_middle_of_trainings(long_nets: Path, tmp_path: Path, undisturbed_long: Path):
    """Three times, and never one node as often as it may be lost."""
    store, lost = tmp_path / "store", Counter[str]()
    with Driver(long_nets, store, "--jobs", "2") as driver:
        for event in driver.events():
            if event["event"] != "node_started" or not event["node"].startswith("fit") or lost.total() == 3:
                continue
            key = event["key"]
            if lost[key] < ATTEMPTS - 1 and wait_for(lambda: state(store, key)) == "kept":  # noqa: B023
                os.kill(worker(event), signal.SIGKILL)
                lost[key] += 1
        code, said = driver.end()
    assert code == 0, said
    assert lost, "the machine was so slow that each training had ended before it could be killed"
    assert_undisturbed(store, undisturbed_long)
    assert max(item["meta"].get("resumed_at", 0) for item in outcomes(store)) > 0


def held_while_writing(store: Path, pid: int) -> Path | None:
    """The folder that a worker is writing a node into, if it does just now: then it stands still."""
    if not [*store.glob("nodes/??/.*/*")]:
        return None
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: gone(pid) or psutil.Process(pid).status() == psutil.STATUS_STOPPED, "standing still")
    half = [path for path in store.glob("nodes/??/.*") if [*path.iterdir()] and not (path / "outcome.json").exists()]
    if half:
        return half[0]
    os.kill(pid, signal.SIGCONT)  # it was done before it was held: there are more nodes
    return None


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_killed_in_the_middle_of_writing(tmp_path: Path):
    spec, store, log = tmp_path / "large.yaml", tmp_path / "store", tmp_path / "log"
    spec.write_text(
        "name: large\nstages:\n  a: {workload: tests.toys.trouble, steps: 1, kilobytes: 131072}\n"
        "axes: {seed: 4}\ntables: {values: {values: [value]}}\n"
    )
    with Driver(spec, store, "--jobs", "1", SWEEP_TEST_LOG=str(log)) as driver:
        pid = worker(driver.until("node_started"))
        half = wait_for(lambda: held_while_writing(store, pid), "writing")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: gone(pid))
        assert half.is_dir(), "it was in the middle of it"
        assert not (half / "outcome.json").exists()
        code, said = driver.end()
    assert code == 0, said
    finish(spec, tmp_path / "whole")
    assert records(store, "large") == records(tmp_path / "whole", "large")
    assert weights(store) == weights(tmp_path / "whole")
    assert sum(runs(log).values()) >= 5


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_told_to_end_again_and_again_counts_as_no_attempt(tmp_path: Path):
    """As often as it may be lost, and once more: SIGTERM, such as where the machine is taken away."""
    spec, store = tmp_path / "long.yaml", tmp_path / "store"
    spec.write_text(
        "name: long\nstages:\n  a: {workload: tests.toys.trouble, steps: 60, pause: 0.25}\n"
        "axes: {seed: 1}\ntables: {values: {values: [value]}}\n"
    )
    with Driver(spec, store, "--jobs", "1", SWEEP_CHECKPOINT_SECONDS="1000") as driver:
        steps = []
        for _ in range(ATTEMPTS + 1):
            pid = worker(driver.until("node_started"))
            steps.append(driver.until("node_logged")["step"])
            os.kill(pid, signal.SIGTERM)
            told = time.monotonic()
            wait_for(lambda pid=pid: gone(pid), "the worker's end")
            assert time.monotonic() - told < 10
        code, said = driver.end()
    assert code == 0, said
    assert steps == sorted(set(steps)), "each went on from where the one before was"
    assert records(store, "long")["status"] == ["done"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_a_process_that_ends_once_is_tried_again_and_one_that_always_does_has_failed(tmp_path: Path):
    for times, code in ((1, 0), (1000, 1)):
        folder = tmp_path / str(times)
        folder.mkdir()
        spec, log = folder / "spec.yaml", folder / "log"
        spec.write_text(only_second(f"exit, a.times: {times}"))
        with Driver(spec, folder / "store", "--jobs", "1", SWEEP_TEST_LOG=str(log)) as driver:
            failed = [event for event in driver.events() if event["event"] == "node_failed"]
            assert driver.end()[0] == code
        assert runs(log)["2 0"] == (2 if times == 1 else ATTEMPTS), runs(log)
        found = records(folder / "store", "trouble")
        if code:
            assert len(failed) == 1
            assert found["status"] == ["done", "failed", "done"]
            assert found["error"][1] == "a: the worker process ended before the node was finished"
        else:
            assert found["status"] == ["done"] * 3


def test_an_error_of_the_workload_is_not_retried_and_what_needs_it_is_skipped(tmp_path: Path):
    for how, error in (("error", "RuntimeError: this never works"), ("memory", "MemoryError: cannot allocate 1 TB")):
        spec, log = tmp_path / f"{how}.yaml", tmp_path / f"{how}.log"
        spec.write_text(only_second(how).replace("name: trouble", f"name: {how}"))
        store = tmp_path / how
        ended = sweep("run", spec, "--store", store, "--inline", "--plain", SWEEP_TEST_LOG=str(log))
        assert ended.returncode == 1
        assert f"1 x a: {error}" in ended.stdout
        assert "3 trials: 2 done, 1 failed" in ended.stdout
        assert runs(log)["2 0"] == 1
        found = records(store, how)
        assert found["status"] == ["done", "failed", "done"]
        assert found["error"] == [None, f"a: {error}", None]
        again = sweep("run", spec, "--store", store, "--inline", "--plain", SWEEP_TEST_LOG=str(log))
        assert again.returncode == 1
        assert runs(log)["2 0"] == 2, "once more in each invocation"
        assert runs(log)["1 0"] == 1


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_rays_memory_monitor_ends_a_hog_and_the_failure_says_memory(tmp_path: Path):
    spec, log = tmp_path / "spec.yaml", tmp_path / "log"
    spec.write_text(only_second("hog"))
    memory = psutil.virtual_memory()
    if memory.available < 5 * 2**30:
        pytest.skip(f"NOT TESTED: a memory hog needs 5 GB, {memory.available / 2**30:.1f} are free")
    threshold = (memory.total - memory.available + 3.5 * 2**30) / memory.total
    settings = {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    with Driver(spec, tmp_path / "store", "--jobs", "1", SWEEP_TEST_LOG=str(log), **settings) as driver:  # pyright: ignore[reportArgumentType]
        assert driver.end()[0] == 1
    found = records(tmp_path / "store", "trouble")
    assert found["status"] == ["done", "failed", "done"]
    assert "out of host memory" in found["error"][1]
    assert runs(log)["2 0"] == ATTEMPTS


@pytest.mark.parametrize("array", ["off", "2"])
def test_inline_a_hanging_node_has_its_time_and_no_more(tmp_path: Path, array: str):
    spec, store, log = tmp_path / "spec.yaml", tmp_path / "store", tmp_path / "log"
    spec.write_text(only_second("hang", "pause: 0.05, time_limit: 2s"))
    ended = sweep("run", spec, "--store", store, "--inline", "--plain", "--array", array, SWEEP_TEST_LOG=str(log))
    assert ended.returncode == 1
    assert "1 x a: time limit of 2 s exceeded" in ended.stdout
    assert records(store, "trouble")["status"] == ["done", "failed", "done"]
    assert runs(log) == {"1 0": 1, "2 0": 1, "3 0": 1, "0 0": 2}


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
@pytest.mark.parametrize("how", ["hang", "spin"])
def test_a_hanging_worker_is_ended_and_the_others_of_its_group_are_taken_up_again(tmp_path: Path, how: str):
    spec, store, log = tmp_path / "spec.yaml", tmp_path / "store", tmp_path / "log"
    spec.write_text(only_second(how, "pause: 0.05, time_limit: 3s"))
    with Driver(spec, store, "--jobs", "1", SWEEP_TEST_LOG=str(log), SWEEP_CHECKPOINT_SECONDS="0") as driver:
        code, said = driver.end()
    assert code == 1, said
    found = records(store, "trouble")
    assert found["status"] == ["done", "failed", "done"]
    assert found["error"][1] == "a: time limit of 3 s exceeded"
    assert runs(log)["2 0"] == 1
    pids = {int(line.split()[2]) for line in log.read_text().splitlines() if line.startswith("2 ")}
    assert all(gone(pid) for pid in pids)
    assert [*store.glob("work/*/checkpoint.safetensors")], "a longer limit goes on from there"
    status = sweep("status", "--store", store).stdout
    assert "2 of 3 trials" in status
    assert "1 failed" in status


def test_a_longer_limit_goes_on_from_the_checkpoint(tmp_path: Path):
    spec, store = tmp_path / "spec.yaml", tmp_path / "store"
    text = (
        "name: slow\nstages:\n  a: {workload: tests.toys.trouble, steps: 30, pause: 0.1, time_limit: LIMIT}\n"
        "axes: {seed: 1}\ntables: {values: {values: [value]}}\n"
    )
    spec.write_text(text.replace("LIMIT", "1s"))
    checkpoints: dict[str, Any] = {"SWEEP_CHECKPOINT_SECONDS": "0"}
    assert sweep("run", spec, "--store", store, "--inline", "--quiet", **checkpoints).returncode == 1
    assert records(store, "slow")["error"] == ["a: time limit of 1 s exceeded"]
    spec.write_text(text.replace("LIMIT", f"{WAIT:.0f}s"))
    assert sweep("run", spec, "--store", store, "--inline", "--quiet", **checkpoints).returncode == 0
    assert records(store, "slow")["status"] == ["done"]
    assert not [*store.glob("work/*/checkpoint.safetensors")]


@pytest.mark.ray
@pytest.mark.mlflow
def test_a_ray_that_does_not_start_is_said_in_words(tmp_path: Path):
    """Its sockets have no room in so long a path; on a machine that is too busy it says something else."""
    spec, store, folder = tmp_path / "spec.yaml", tmp_path / "store", tmp_path / ("x" * 120)
    spec.write_text("name: noop\nstages: {a: {workload: tests.toys.noop}}\naxes: {seed: 2}\n")
    folder.mkdir()
    done = sweep("run", spec, "--store", store, "--jobs", "1", "--quiet", RAY_TMPDIR=str(folder))
    assert done.returncode == 1
    assert done.stderr.startswith("Ray does not start: ")
    assert done.stderr.endswith("; what is finished is kept, and the same command goes on\n")
    assert len(done.stderr.splitlines()) == 1
    assert not [*store.glob("work/leases/*")]
    assert records(store, "noop")["status"] == ["missing"] * 2
    assert sweep("run", spec, "--store", store, "--inline", "--quiet").returncode == 0
