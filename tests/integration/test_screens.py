"""What reaches the screen of a sweep under Ray whose workload, Ray, MLflow and torch make noise: our words alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.progress import NAMES
from tests.integration.test_live_view import NOISE, Terminal

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.timeout(500)]
REPO = Path(__file__).resolve().parents[2]
SPEC = """
name: loud
stages:
  first: {workload: tests.toys.loud}
axes:
  how:
    well: {}
    badly: {first.fails: true}
tables:
  values: {rows: [how], values: [value]}
"""
FORECAST = """\
loud: 2 trials, 0 done

  stage +nodes shared +uses +done +to do +cost
  first +2 +0 +2 +0 +2  not known

  work  .*
  wall  .*
  with  2 workers x 1 thread on \\d+ cores?
  with  arrays off
  disk  .*

"""
PROGRESS = """\
loud: 2 trials; 2 of 2 nodes to run
loud: 2 workers x 1 thread on \\d+ cores?; arrays off
(?:loud: 0 of 2 trials; nodes: 0 done, .*
)*\
loud: failed: how=badly: first: RuntimeError: it was told to
  sweep run .*loud.yaml --store .* --only [0-9a-f]{10} --inline --debug
(?:loud: [01] of 2 trials; nodes: .*
)*\
loud: 1 of 2 trials; nodes: 1 done, 1 failed; [^;]*
"""
CLOSING = """\
loud: 1 nodes executed, 0 reused; 2 trials: 1 done, 1 failed
wall time [^;]*; [0-9.e-]+ CPU-hours

What failed \\(run again to try once more\\):
  1 x first: RuntimeError: it was told to
      sweep run .*loud.yaml --store .* --only [0-9a-f]{10} --inline --debug
  tracebacks: sweep logs loud --store .* --trial KEY

values. .*

(?:.*\n){5,7}
Records   STORE/records/loud/trials.parquet
Table     sweep table loud --store STORE --format latex
Report    STORE/sweeps/loud/report/index.html
Log       STORE/sweeps/loud/run.log
MLflow    sweep ui --store STORE \\(prints its address\\)
"""


def in_a_pipe(folder: Path, *options: str) -> str:
    """The standard output of `sweep run`; there is nothing on the other."""
    (folder / "loud.yaml").write_text(SPEC)
    command = ["run", str(folder / "loud.yaml"), "--store", str(folder / "s"), "--jobs", "2", *options]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *command], cwd=REPO, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert_kept(folder)
    return done.stdout


def assert_kept(folder: Path) -> None:
    """What was kept from the screen is in the files that are named."""
    assert "Configuration for experiment" in (folder / "s" / "sweeps" / "loud" / "run.log").read_text(), "Ray's noise"
    logs = [path.read_text() for path in (folder / "s" / "logs").rglob("*.log")]
    assert len(logs) == 2
    for log in logs:
        for kind in ("printed", "on stderr", "of warnings", "logged", "of a child"):
            assert f"NOISE {kind}" in log


def assert_is(text: str, pattern: str, folder: Path) -> None:
    assert re.fullmatch(pattern.replace("STORE", re.escape(str(folder / "s"))), text), text


def test_a_terminal_shows_our_words_alone(tmp_path: Path) -> None:
    (tmp_path / "loud.yaml").write_text(SPEC)
    terminal = Terminal(80, 24, "run", str(tmp_path / "loud.yaml"), "--store", str(tmp_path / "s"), "--jobs", "2")
    terminal.watch("MLflow    ", 400)
    terminal.watch("never on the screen", 30)
    assert terminal.process.wait() == 1
    whole = "\n".join(
        [*("".join(line[x].data for x in range(80)).rstrip() for line in terminal.screen.history.top)]
        + [line.rstrip() for line in terminal.screen.display]
    )
    ours = re.sub(r"^MLflow    ", "", whole, flags=re.MULTILINE).replace(str(tmp_path), "")
    sent = terminal.raw.decode()
    assert "NOISE" not in sent
    assert not NOISE.search(ours), ours
    for start in ("trials  ", "nodes   ", "pace    ", "loud: failed: how=badly"):
        assert sum(line.startswith(start) for line in whole.splitlines()) == 1, f"one picture is left: {whole}"
    assert "\x1b[2J" not in sent, "it is drawn in place, and never cleared"
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1
    assert "sweeps/loud/run.log" in whole.replace("\n", ""), "the log is named"
    assert_kept(tmp_path)
    (tmp_path / "screen.txt").write_text(whole)


def test_plain_lines(tmp_path: Path) -> None:
    assert_is(in_a_pipe(tmp_path), FORECAST + PROGRESS + CLOSING, tmp_path)


def test_quiet(tmp_path: Path) -> None:
    assert_is(in_a_pipe(tmp_path, "--quiet"), CLOSING, tmp_path)


def test_every_kind_of_json_line_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", (REPO / "docs" / "watching.md").read_text(), re.MULTILINE)
    whole = {"sweep_planned", "sweep_started", "sweep_ended", "sweep_closed"}
    assert {*documented} == {*NAMES.values()} | whole


def test_json_lines(tmp_path: Path) -> None:
    lines = in_a_pipe(tmp_path, "--json").splitlines()
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    names = [event["event"] for event in events]
    assert names[:2] == ["sweep_planned", "sweep_started"]
    assert names[-2:] == ["sweep_ended", "sweep_closed"]
    assert sorted(names[2:-2]) == ["node_done", "node_failed", *["node_logged"] * 2, *["node_started"] * 2]
    for event in events:
        assert event["sweep"] == "loud"
        assert event["time"] > 1.7e9
    closed = events[-1]
    assert (closed["statuses"], closed["executed"]) == ({"done": 1, "failed": 1}, 1)
    assert closed["errors"] == {"first: RuntimeError: it was told to": 1}
    assert Path(closed["records"]).is_file()
    assert Path(closed["report"]).is_file()
    assert Path(closed["log"]).is_file()
    assert (closed["mlflow"], closed["unsent"]) == (None, 0)
