"""Drivers as processes, what they say and leave, and what must be equal however a sweep was disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet

from tests.command import can_be_here, sweep_here

REPO = Path(__file__).resolve().parents[2]
WAIT = 200.0  # seconds; for what happens in a few, on a machine that does much else
NETS = """
name: nets
stages:
  fit:
    workload: train
    data: {name: digits, subset: 200}
    model: {name: mlp, width: 32, depth: 2, dropout: 0.2}
    optimizer: {name: sgd, lr: 0.02, momentum: 0.9}
    batch_size: 16
    stop: {epochs: 50}
  go_on:
    workload: train
    start: {from: fit}
    data: {name: digits, subset: 200}
    optimizer: {name: sgd, lr: 0.01}
    batch_size: 16
    stop: {epochs: 15}
  measure: {workload: measure, from: go_on, measures: [test_accuracy, distance_from_start]}
axes:
  go_on.optimizer.weight_decay: [0, 0.01]
  seed: 2
tables:
  accuracy: {rows: [go_on.optimizer.weight_decay], values: [test_accuracy, distance_from_start]}
"""
NODES = 2 + 4 + 8
LONG = NETS.replace("epochs: 50", "epochs: 300")  # seconds: what is to happen in the middle is told after half a second


class Driver:
    """A `sweep run` in a process group of its own, as a shell would start it."""

    def __init__(self, spec: Path, store: Path, *options: str, cwd: Path = REPO, **environment: str) -> None:
        command = [sys.executable, "-m", "orchestrator.cli", "run", str(spec), "--store", str(store), "--json"]
        environment = {**os.environ, "SWEEP_CHECKPOINT_SECONDS": "0.2", "PYTHONPATH": str(REPO), **environment}
        self.store = store
        self._errors: str | None = None
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def interrupt(self) -> None:
        """What Ctrl-C does: the signal goes to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def events(self) -> Iterator[dict[str, Any]]:
        """What it says from now on, to its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):  # cut off where it was killed
                yield json.loads(line)

    def until(self, name: str, **fields: Any) -> dict[str, Any]:
        """The next event of a kind."""
        for event in self.events():
            if event["event"] == name and all(event.get(field) == value for field, value in fields.items()):
                return event
        raise AssertionError(f"no {name}: {self.end()}")

    def end(self) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr, once it has ended."""
        if self._errors is None:  # what it says is read too: a full pipe would stop it
            self._errors = self.process.communicate(timeout=WAIT)[1]
        return self.process.returncode, self._errors

    def seconds_to_end(self) -> float:
        started = time.monotonic()
        self.end()
        return time.monotonic() - started


def sweep(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command, from its beginning to its end; in this process, unless its environment is another."""
    if not environment and can_be_here(*arguments):
        return sweep_here(*arguments)
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPO), **environment}
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=WAIT, env=environment)


def finish(spec: Path, store: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Go on with a sweep to its end, in one process."""
    done = sweep("run", spec, "--store", store, "--plain", "--inline", *options)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def worker(event: dict[str, Any]) -> int:
    """The process that an event is about."""
    return int(event["worker"].rpartition(":")[2])


def wait_for(there: Callable[[], Any], what: str = "it") -> Any:
    """The first true value."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if found := there():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {WAIT:.0f} s")


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def records(store: Path, name: str = "nets") -> dict[str, list[Any]]:
    """Every column that must not depend on how a sweep ran; that each trial is there once is seen to here."""
    table = pyarrow.parquet.read_table(store / "records" / name / "trials.parquet")
    trials = table["meta.trial"].to_pylist()
    assert len(trials) == len(set(trials))
    return {column: table[column].to_pylist() for column in table.column_names if not column.startswith("meta.")}


def weights(store: Path) -> dict[str, bytes]:
    """The tensors of every finished node, to the byte."""
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in store.glob("nodes/??/[!.]*/*.safetensors")}


def assert_undisturbed(store: Path, undisturbed: Path, name: str = "nets") -> None:
    """The same records, weights and curves, nothing damaged, nothing left to do and nothing held."""
    assert records(store, name) == records(undisturbed, name)
    assert weights(store) == weights(undisturbed)
    assert not [*store.glob("work/leases/*")]
    assert not [*store.glob("work/*/checkpoint.safetensors")]
    assert not [*store.glob("failed/*")]


def outcomes(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(store.glob("nodes/??/*/outcome.json"))]
