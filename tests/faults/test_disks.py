"""Disks that are full, limited or read-only: one clear sentence, nothing is broken, and it goes on afterwards."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.processes import (
    REPO,
    WAIT,
    Driver,
    assert_undisturbed,
    finish,
    records,
    sweep,
    wait_for,
    weights,
)

HEAVY = """
name: heavy
stages:
  make: {workload: tests.toys.trouble, steps: 1, kilobytes: 1024, pause: 0.05}
  go_on: {workload: tests.toys.trouble, steps: 1, kilobytes: 1024, from: make}
axes:
  seed: 12
tables:
  values: {values: [value]}
"""
SENTENCE = "free space, and the same command goes on"


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A small disk of its own; skips where mounting is refused (then the limit on file sizes is what is tested)."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"NO SMALL DISK: mounting is refused here ({made.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    path = tmp_path / "heavy.yaml"
    path.write_text(HEAVY)
    return path


@pytest.fixture
def whole(heavy: Path, tmp_path: Path) -> Path:
    finish(heavy, tmp_path / "whole")
    return tmp_path / "whole"


def assert_nothing_half(store: Path) -> None:
    """Every node that is there is whole, and no node was said to have failed."""
    for folder in store.glob("nodes/??/*"):
        assert (folder / "outcome.json").exists(), folder
    assert not [*store.glob("failed/*")]


@pytest.mark.parametrize("options", [["--inline"], pytest.param(["--jobs", "2"], marks=pytest.mark.faults)])
def test_a_full_disk_stops_the_run_clearly_and_it_goes_on(heavy: Path, tmp_path: Path, whole: Path, options: list[str]):
    with mounted(tmp_path / "small disk", megabytes=12) as disk:
        with Driver(heavy, disk / "store", *options) as driver:
            code, said = driver.end()
        assert code == 1, said
        assert SENTENCE in said
        assert "No space left on device" in said
        assert len(said.splitlines()) == 1, "one message, no traceback"
        assert_nothing_half(disk / "store")
        assert "of 12 trials" in sweep("status", "--store", disk / "store").stdout
        with Driver(heavy, disk / "store", *options) as driver:  # nothing was freed
            assert driver.end()[0] == 1
        remount(disk, "size=200m")
        finish(heavy, disk / "store")
        assert records(disk / "store", "heavy") == records(whole, "heavy")
        assert weights(disk / "store") == weights(whole)


@pytest.mark.faults
@pytest.mark.parametrize("free", [0, 40, 400])
def test_a_disk_that_is_full_from_the_beginning(nets: Path, tmp_path: Path, undisturbed: Path, free: int):
    """So many kilobytes are free: now it is the driver that cannot write its leases, its records, its log."""
    with mounted(tmp_path / "disk", megabytes=20) as disk:
        filler = disk / "filler"
        handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            while True:
                os.write(handle, b"x" * 4096)
        os.close(handle)
        os.truncate(filler, filler.stat().st_size - free * 1024)
        with Driver(nets, disk / "store", "--inline") as driver:
            code, said = driver.end()
        assert code in (1, 2), said
        assert "No space left on device" in said
        assert "Traceback" not in said
        filler.unlink()
        finish(nets, disk / "store")
        assert_undisturbed(disk / "store", undisturbed)


@pytest.mark.parametrize("options", [["--inline"], pytest.param(["--jobs", "2"], marks=pytest.mark.faults)])
def test_a_limit_on_the_size_of_files(heavy: Path, tmp_path: Path, whole: Path, options: list[str]):
    """Where nothing can be mounted, this is what a full disk is tested by."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(heavy), "--store", str(tmp_path / "store")]
    limited = subprocess.run(
        [*command, "--quiet", *options], cwd=REPO, capture_output=True, text=True, timeout=WAIT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, resource.RLIM_INFINITY)),
    )  # fmt: skip
    if "--inline" not in options and limited.returncode == 1 and "limit on the size" not in limited.stderr:
        pytest.skip(f"Ray itself does not start under this limit: {limited.stderr.strip()[-200:]}")
    assert limited.returncode == 1, limited.stderr
    assert "raise the limit on the size of files (ulimit -f), and the same command goes on" in limited.stderr
    assert_nothing_half(tmp_path / "store")
    finish(heavy, tmp_path / "store")
    assert records(tmp_path / "store", "heavy") == records(whole, "heavy")


@pytest.mark.faults
@pytest.mark.parametrize("options", [["--inline"], ["--jobs", "2"]])
def test_a_store_that_becomes_read_only_under_a_run(
    long_nets: Path, tmp_path: Path, undisturbed_long: Path, options: list[str]
):
    store = tmp_path / "store"
    store.mkdir()
    with mounted(store / "nodes", megabytes=200) as disk:  # not all of it: its log is open for writing
        with Driver(long_nets, store, *options) as driver:
            driver.until("node_done")
            wait_for(lambda: read_only(disk), "the remount")
            code, said = driver.end()
        assert code == 1, said
        assert "Read-only file system; make it writable, and the same command goes on" in said
        assert "Traceback" not in said
        assert "of 4 trials" in sweep("status", "--store", store).stdout
        refused = sweep("run", long_nets, "--store", store, "--inline")
        assert refused.returncode == 1
        assert "Read-only file system" in refused.stderr
        remount(disk, "rw")
        finish(long_nets, store)
        assert_undisturbed(store, undisturbed_long)


def read_only(disk: Path) -> bool:
    """Make it so; refused while a file is open for writing."""
    return not subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True).returncode


@pytest.mark.faults
def test_readers_need_nothing_but_to_read(nets: Path, tmp_path: Path, undisturbed: Path):
    with mounted(tmp_path / "disk", megabytes=50) as disk:
        subprocess.run(["cp", "-r", str(undisturbed), str(disk / "store")], check=True)
        remount(disk, "ro")
        shown: dict[str, Callable[[Path], subprocess.CompletedProcess[str]]] = {
            "status": lambda store: sweep("status", "--store", store),
            "plan": lambda store: sweep("plan", nets, "--store", store),
            "table": lambda store: sweep("table", "nets", "--store", store),
            "claims": lambda store: sweep("claims", "nets", "--store", store),
        }
        for name, command in shown.items():
            here, there = command(disk / "store"), command(undisturbed)
            assert here.returncode == there.returncode == 0, (name, here.stderr)
            assert here.stdout == there.stdout
