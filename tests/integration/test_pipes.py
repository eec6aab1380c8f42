"""What `sweep run` writes where there is no terminal: lines for people, for programs, or none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_live_view import NOISE, SHORT
from tests.integration.test_sweep import REPO

EVENTS = {"sweep_planned", "sweep_started", "node_started", "node_done", "sweep_ended"}


def run(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "short.yaml").write_text(SHORT)
    command = [sys.executable, "-m", "orchestrator.cli", "run", "short.yaml", "--store", "s", *options]
    environment = {"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.ray
@pytest.mark.mlflow
def test_json_lines_and_nothing_else(tmp_path: Path):
    done = run(tmp_path, "--json", "--jobs", "1")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events} == EVENTS
    assert [event["event"] for event in events][:: len(events) - 1] == ["sweep_planned", "sweep_ended"]
    assert sum(event["event"] == "node_done" for event in events) == 4
    assert done.stderr == ""


@pytest.mark.ray
@pytest.mark.mlflow
def test_plain_lines_without_escapes_or_noise(tmp_path: Path):
    done = run(tmp_path, "--jobs", "1")
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    text = re.sub(r"MLflow +sweep ui.*", "", done.stdout.replace(str(tmp_path), ""))
    assert not NOISE.search(text), text
    lines = done.stdout.splitlines()
    assert "short: 4 trials; 4 of 4 nodes to run" in lines
    assert any(line.startswith("short: 4 nodes executed, 0 reused; 4 trials: 4 done") for line in lines)
    assert max(map(len, lines)) <= 120 + len(str(tmp_path))


@pytest.mark.mlflow
def test_quiet_says_the_end_only(tmp_path: Path):
    done = run(tmp_path, "--quiet", "--inline")
    assert done.stderr == ""
    assert done.stdout.startswith("short: 4 nodes executed, 0 reused; 4 trials: 4 done")
