"""One store for two drivers, under a clock that goes backwards, at places with difficult names."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.faults.processes import NETS, Driver, assert_undisturbed, finish, outcomes, records, sweep, wait_for
from tests.faults.test_workers import runs

COUNTED = """
name: NAME
stages:
  a: {workload: tests.toys.trouble, steps: 3, pause: 0.1}
  b: {workload: tests.toys.trouble, steps: 2, pause: 0.1, from: a}
axes:
  b.x: [1, 2, 3]
  seed: 4
tables:
  values: {rows: [b.x], values: [value]}
"""


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("options", [["--inline"], pytest.param(["--jobs", "2"], marks=pytest.mark.faults)])
def test_two_drivers_at_once_run_no_node_twice(tmp_path: Path, same: bool, options: list[str]):
    """Of one sweep, or of two that share all of their nodes."""
    store, log = tmp_path / "store", tmp_path / "log"
    names = ["first", "first" if same else "second"]
    for name in names:
        (tmp_path / f"{name}.yaml").write_text(COUNTED.replace("NAME", name))
    drivers = [Driver(tmp_path / f"{name}.yaml", store, *options, SWEEP_TEST_LOG=str(log)) for name in names]
    for driver in drivers:
        with driver:
            code, said = driver.end()
        assert code == 0, said
    assert runs(log) == {f"0 {seed}": 1 for seed in range(4)} | {
        f"{x} {seed}": 1 for x in (1, 2, 3) for seed in range(4)
    }
    for name in names:
        finish(tmp_path / f"{name}.yaml", tmp_path / "whole")
        assert records(store, name) == records(tmp_path / "whole", name)
    assert not [*store.glob("work/leases/*")]


@pytest.mark.faults
def test_the_second_driver_goes_on_when_the_first_is_killed(long_nets: Path, tmp_path: Path, undisturbed_long: Path):
    """The first stands still with what it holds until the second waits for it: then both are at work for sure."""
    store = tmp_path / "store"
    with Driver(long_nets, store, "--inline") as first:
        first.until("node_logged", step=5)
        first.process.send_signal(signal.SIGSTOP)
        [held] = wait_for(lambda: [*store.glob("work/leases/*")])
        with Driver(long_nets, store, "--inline") as second:
            second.until("node_done")
            assert not (Store(store).node_folder(held.name) / "outcome.json").exists(), "it is left to the first"
            first.kill()
            code, said = second.end()
    assert code == 0, said
    assert_undisturbed(store, undisturbed_long)


def shim(folder: Path) -> Path:
    """A library that sets the clock of whoever loads it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("CLOCKS ARE NOT TESTED: there is no C compiler (Debian's gcc and libc6-dev)")
    built = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(built), str(source)], check=True)
    return built


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
@pytest.mark.parametrize("options", [["--inline"], ["--jobs", "2"]])
def test_a_clock_that_goes_backwards(nets: Path, tmp_path: Path, undisturbed: Path, options: list[str]):
    """By an hour, in the middle of a run; what a duration or a lease is judged by must not be that clock."""
    store, clock = tmp_path / "store", tmp_path / "clock"
    clock.write_text("0")
    faked = {"LD_PRELOAD": str(shim(tmp_path)), "CLOCK_FILE": str(clock)}
    with Driver(nets, store, *options, **faked) as driver:  # pyright: ignore[reportArgumentType]
        before = driver.until("node_done")["time"]
        (tmp_path / "set").write_text("-3600")
        (tmp_path / "set").rename(clock)
        rest = [*driver.events()]
        code, said = driver.end()
    assert code == 0, said
    assert min(event["time"] for event in rest) < before - 1800, "the clock did go back"
    assert [event["event"] for event in rest[-2:]] == ["sweep_ended", "sweep_closed"]
    assert rest[-2]["seconds"] > 0
    assert all(item["seconds"] >= 0 for item in outcomes(store))
    assert_undisturbed(store, undisturbed)
    shown = sweep("run", nets, "--store", store, "--inline", "--plain").stdout
    assert not re.search(r"-\d+(:\d+)? (s|min|h)\b", shown), "no negative time is shown"


@pytest.mark.parametrize("options", [["--inline"], pytest.param(["--jobs", "2"], marks=pytest.mark.faults)])
def test_spaces_and_letters_of_the_world_in_every_path(tmp_path: Path, undisturbed: Path, options: list[str]):
    folder = tmp_path / "Überprüfung of 学習 runs"
    folder.mkdir()
    spec, store = folder / "mein sweep é.yaml", folder / "der store №1"
    spec.write_text(NETS)
    with Driver(spec, store, *options, "--data", str(folder / "die daten"), cwd=folder) as driver:
        code, said = driver.end()
    assert code == 0, said
    assert_undisturbed(store, undisturbed)
    assert sweep("table", "nets", "--store", store).returncode == 0
    assert "4 of 4 trials" in sweep("status", "--store", store).stdout


@pytest.mark.faults
def test_a_lease_of_a_host_that_went_silent_is_taken_over(long_nets: Path, tmp_path: Path, undisturbed_long: Path):
    """Its heart does not beat: after three beats the nodes that it held are ours."""
    store = tmp_path / "store"
    with Driver(long_nets, store, "--inline") as driver:
        driver.until("node_logged", step=3)
        driver.process.send_signal(signal.SIGSTOP)  # it lives, says nothing, and will not go on
        [lease] = wait_for(lambda: [*store.glob("work/leases/*")])
        aside = tmp_path / "aside"
        shutil.copytree(store, aside)
    elsewhere = {**json.loads(lease.read_text()), "host": "another host"}
    for path in (aside / "work" / "leases" / lease.name, aside / "work" / "drivers" / f"{elsewhere['name']}.json"):
        path.write_text(json.dumps(elsewhere))
    started = time.monotonic()
    finish(long_nets, aside)
    assert time.monotonic() - started > 30, "it had three beats to say something"
    assert_undisturbed(aside, undisturbed_long)
