"""`sweep run` says what is to come, and asks before more than one GPU-hour: in a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.plan import Plan, plan
from orchestrator.planning.costs import note_of
from orchestrator.planning.node import Node
from orchestrator.spec import read
from orchestrator.store import Outcome, Store
from tests.integration.test_sweep import REPO, sweep

SPEC = """
name: costly
stages:
  first: {workload: tests.toys.noop}
axes:
  seed: SEEDS
"""
QUESTION = "go on? [y/N] "


def planned(folder: Path, seeds: str) -> Plan:
    path = folder / "costly.yaml"
    path.write_text(SPEC.replace("SEEDS", seeds))
    return plan(read(path), folder)


def costly(node: Node) -> Outcome:
    meta = {"device": "cuda:0", "host": "far away", "finished": 1.0, **note_of(node, 1.0)}
    return Outcome(node.key, node.workload, "done", {"value": 0.0}, node.config, node.seed, None, 1800.0, meta, {})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in which such nodes took 30 minutes each on a GPU."""
    store = Store.at(tmp_path / "store").prepare()
    store.commit_rows([costly(node) for node in planned(tmp_path, "[100, 101]").nodes.values()])
    planned(tmp_path, "4")
    return store


def in_terminal(*arguments: object, answer: str) -> tuple[int, str]:
    """The exit code of a command on a terminal of its own, and what it showed; `answer` is typed at the question."""
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPO, env=environment)
    os.close(theirs)
    shown, asked, until = "", False, time.monotonic() + 60
    try:
        while time.monotonic() < until:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    shown += os.read(terminal, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
            elif process.poll() is not None:
                break
            if QUESTION in shown and not asked:
                asked = True
                os.write(terminal, answer.encode())
        return process.wait(timeout=30), shown
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def options(tmp_path: Path, store: Store) -> list[object]:
    return [tmp_path / "costly.yaml", "--store", store.root, "--gpus", 1]


def started(store: Store) -> bool:
    """Whether a run went beyond the question; how far depends on whether there is a GPU."""
    return (store.root / "sweeps" / "costly" / "spec.yaml").is_file()


def test_a_no_starts_nothing(tmp_path: Path, store: Store):
    code, shown = in_terminal("run", *options(tmp_path, store), "--inline", answer="\n")
    assert "This will take about 2 GPU-hours; go on? [y/N]" in shown
    assert "nothing was started" in shown
    assert "2:00 h of GPU time" in shown
    assert (code, started(store)) == (0, False)


def test_a_yes_goes_on(tmp_path: Path, store: Store):
    _, shown = in_terminal("run", *options(tmp_path, store), "--inline", answer="y\n")
    assert QUESTION in shown
    assert started(store), shown


def test_with_yes_nobody_is_asked(tmp_path: Path, store: Store):
    _, shown = in_terminal("run", *options(tmp_path, store), "--inline", "--yes", answer="n\n")
    assert QUESTION not in shown
    assert started(store), shown


def test_without_a_terminal_there_is_nobody_to_ask_and_programs_get_the_plan_first(tmp_path: Path, store: Store):
    done = sweep("run", *options(tmp_path, store), "--inline", "--json")
    first, *_ = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["event"], first["sweep"]) == ("sweep_planned", "costly")
    assert first["forecast"]["gpu_hours"] == pytest.approx(2.0)
    assert first["stages"]["first"]["to_do"] == 4
    assert started(store), done.stderr


def test_the_table_of_plan_on_a_terminal(tmp_path: Path, store: Store):
    code, shown = in_terminal("plan", *options(tmp_path, store), answer="")
    assert code == 0
    lines = shown.replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["first", "4", "0", "4", "0", "4", "2:00", "h", "x/÷", "1.0"] for line in lines), shown
