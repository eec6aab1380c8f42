"""Stopped in good order and killed: what was finished is kept, and the same command ends as if nothing had been."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.running.stopping import GRACE
from tests.faults.processes import (
    NODES,
    Driver,
    assert_undisturbed,
    finish,
    gone,
    outcomes,
    sweep,
    wait_for,
    worker,
)
from tests.integration.test_sweep import executed

SECONDS = 10.0  # in which a run that is asked to stop has ended


def stop(driver: Driver, number: signal.Signals) -> None:
    if number == signal.SIGINT:
        driver.interrupt()
    else:
        driver.process.send_signal(number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_inline_it_stops_in_good_order_and_goes_on(
    long_nets: Path, tmp_path: Path, undisturbed_long: Path, number: signal.Signals, code: int
):
    with Driver(long_nets, tmp_path / "store", "--inline") as driver:
        driver.until("node_logged", step=5)
        stop(driver, number)
        assert driver.seconds_to_end() < SECONDS
        found, said = driver.end()
    assert found == code
    assert f"to go on: sweep run {long_nets}" in said
    assert len(said.splitlines()) == 1
    assert [*(tmp_path / "store").glob("work/*/checkpoint.safetensors")]
    assert not [*(tmp_path / "store").glob("work/leases/*")]
    assert f"nets: 0 of 4 trials, 0 of {NODES} nodes done" in sweep("status", "--store", tmp_path / "store").stdout
    finish(long_nets, tmp_path / "store")
    assert_undisturbed(tmp_path / "store", undisturbed_long)
    assert max(item["meta"].get("resumed_at", 0) for item in outcomes(tmp_path / "store")) >= 5


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.faults)],
)
def test_workers_keep_what_they_have_under_way(
    long_nets: Path, tmp_path: Path, undisturbed_long: Path, number: signal.Signals, code: int
):
    store = tmp_path / "store"
    with Driver(long_nets, store, "--jobs", "2", SWEEP_CHECKPOINT_SECONDS="1000") as driver:
        pid = worker(driver.until("node_started"))
        driver.until("node_logged", step=5)
        stop(driver, number)
        assert driver.seconds_to_end() < SECONDS
        found, said = driver.end()
    assert found == code
    assert "to go on: sweep run" in said
    assert [*store.glob("work/*/checkpoint.safetensors")], "asked for at once, not after a minute"
    assert not [*store.glob("work/leases/*")]
    assert (store / "records" / "nets" / "trials.parquet").exists()
    wait_for(lambda: gone(pid), "the worker's end")
    finish(long_nets, store)
    assert_undisturbed(store, undisturbed_long)
    assert max(item["meta"].get("resumed_at", 0) for item in outcomes(store)) >= 5


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_an_array_keeps_all_its_networks(long_nets: Path, tmp_path: Path):
    store = tmp_path / "store"
    with Driver(long_nets, store, "--jobs", "1", "--array", "2", SWEEP_CHECKPOINT_SECONDS="1000") as driver:
        driver.until("node_logged", step=5)
        driver.interrupt()
        assert driver.seconds_to_end() < SECONDS
    kept = {path.parent.name for path in store.glob("work/*/checkpoint.safetensors")}
    assert len(kept) == 2
    with Driver(long_nets, store, "--jobs", "1", "--array", "2") as driver:
        code, said = driver.end()
    assert code == 0, said
    resumed = {item["key"]: item["meta"].get("resumed_at", 0) for item in outcomes(store)}
    assert {key for key, at in resumed.items() if at >= 5} == kept


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_ctrl_c_twice_leaves_at_once(tmp_path: Path):
    """A workload that never saves would have the whole grace."""
    spec, store = tmp_path / "slow.yaml", tmp_path / "store"
    spec.write_text("name: slow\nstages:\n  s: {workload: tests.toys.noop, sleep: 60}\naxes: {seed: 2}\n")
    with Driver(spec, store, "--jobs", "2") as driver:
        pid = worker(driver.until("node_started"))
        driver.interrupt()
        driver.until("stop_asked")
        driver.interrupt()
        assert driver.seconds_to_end() < GRACE, "less than what is left to those who were asked once"
        assert driver.end()[0] == 130
    wait_for(lambda: gone(pid), "the worker's end")
    spec.write_text(spec.read_text().replace("sleep: 60", "sleep: 0"))
    assert executed(finish(spec, store).stdout) == 2


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_what_never_saves_is_left_after_a_while(tmp_path: Path):
    spec, store = tmp_path / "slow.yaml", tmp_path / "store"
    spec.write_text("name: slow\nstages:\n  s: {workload: tests.toys.noop, sleep: 60}\naxes: {seed: 2}\n")
    for options in (["--inline"], ["--jobs", "2"]):
        with Driver(spec, store, *options) as driver:
            driver.until("node_started")
            driver.interrupt()
            assert driver.seconds_to_end() < SECONDS
            assert driver.end()[0] == 130
        assert not [*store.glob("work/leases/*")]


def rays(driver: Driver) -> list[int]:
    """The processes of Ray that a driver has, its workers among them; none where it has ended, or not begun."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(driver.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                found += [child.pid] if "ray" in " ".join(child.cmdline()) else []
    return found


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_driver_that_is_killed_ten_times_loses_nothing(nets: Path, tmp_path: Path, undisturbed: Path):
    store, seed = tmp_path / "store", random.randrange(10**6)
    draw = random.Random(seed)
    print("seed", seed)
    finished = 0
    workers: list[int] = []
    for _ in range(10):
        with Driver(nets, store, "--jobs", "2") as driver:
            time.sleep(draw.uniform(0.5, 14.0))
            workers = rays(driver)
            driver.kill()
        now = len(outcomes(store))
        assert now >= finished
        finished = now
    wait_for(lambda: all(map(gone, workers)), "the end of its workers, which may commit for a while longer")
    with Driver(nets, store, "--jobs", "2") as driver:
        code, said = driver.end()
    assert code == 0, said
    assert_undisturbed(store, undisturbed)
