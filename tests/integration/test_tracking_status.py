"""`sweep status --tracking-uri`: how far a sweep is, from a machine that sees the server and not the store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.servers import MlflowServer

pytestmark = [pytest.mark.mlflow, pytest.mark.timeout(600)]
REPO = Path(__file__).resolve().parents[2]
SPEC = """
name: far
stages:
  first: {workload: tests.toys.trouble, steps: 4000, pause: 0.05}
axes:
  how:
    quick: {first.steps: 2}
    wrong: {first.trouble: error}
    long: {}
"""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]


def sweep(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """In a folder without a store."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=300, env=environment)


def test_a_server_says_how_far_a_sweep_is(tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text(SPEC)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    server = MlflowServer(tmp_path, f"sqlite:///{tmp_path / 'server.db'}")
    server.start()
    try:
        assert sweep(elsewhere, "status", "--tracking-uri", server.uri).stdout == f"no sweeps in {server.uri}\n"
        options = ("--store", tmp_path / "s", "--inline", "--quiet", "--tracking-uri", server.uri)
        with open(tmp_path / "said", "w") as said:
            run = subprocess.Popen(command("run", tmp_path / "far.yaml", *options), cwd=REPO, stdout=said, stderr=said)
        asking = ("status", "far", "--tracking-uri", server.uri)
        until = time.monotonic() + 200
        while "  running: how=long" not in (seen := sweep(elsewhere, *asking).stdout):
            assert run.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < until, seen
        lines = seen.splitlines()
        assert lines[0] == "far: 3 trials; in MLflow 1 finished, 1 running, 1 failed"
        assert lines[1].startswith(f"  run on {os.uname().nodename} since 2")
        assert lines[2:] == ["  running: how=long", "  failed: how=wrong: first: RuntimeError: this never works"]
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        following = subprocess.Popen(
            command(*asking, "--follow"), cwd=elsewhere, stdout=subprocess.PIPE, text=True, env=environment
        )
        time.sleep(3)
        assert sweep(tmp_path, "stop", "far", "--store", tmp_path / "s").returncode == 0
        assert run.wait(60) == 143
        told, _ = following.communicate(timeout=200)
        assert following.returncode == 0, "it ends when nobody runs the sweep"
        assert told.splitlines()[-2] == "far: 3 trials; in MLflow 1 finished, 1 failed, 1 cut off"
        wrong = sweep(elsewhere, "status", "fra", "--tracking-uri", server.uri)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "has no sweep 'fra'; allowed: Default, far; did you mean 'far'?" in wrong.stderr
    finally:
        server.stop()
    assert not [*elsewhere.iterdir()], "it made no store"


def test_a_server_that_is_not_there_is_said_in_a_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = sweep(tmp_path, "status", "--tracking-uri", uri)
        leaky = sweep(tmp_path, "status", "--tracking-uri", uri.replace("//", "//me:secret@"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"--tracking-uri {uri}: ")
    assert len(done.stderr.splitlines()) == 1
    assert leaky.returncode == 2
    assert "MLFLOW_TRACKING_PASSWORD" in leaky.stderr
    assert "secret" not in leaky.stderr
