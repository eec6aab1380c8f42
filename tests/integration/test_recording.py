"""Records while a sweep runs: tables, claims and reports of what is there, and readers beside the one who writes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow
import pytest

from orchestrator import record
from orchestrator.cli import main
from orchestrator.running import recording
from orchestrator.spec import read

ROOT = Path(__file__).resolve().parents[2]
SLOW = """\
name: slow
stages:
  fit: {workload: tests.toys.noop, sleep: 0.2}
axes:
  fit.x: [1, 2]
  seed: 12
tables:
  values: {rows: fit.x, values: value}
claims:
  more: {says: More is more., metric: value, increasing: fit.x}
"""


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "PAUSE", 0.05)
    monkeypatch.setattr(recording, "SHARE", 0.5)


def test_a_sweep_that_runs_has_a_table_claims_and_a_report(
    tmp_path: Path, often: None, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, store = tmp_path / "slow.yaml", str(tmp_path / "runs")
    spec.write_text(SLOW)
    ends: list[int] = []
    run = threading.Thread(
        target=lambda: ends.append(main(["run", str(spec), "--store", store, "--inline", "--quiet"]))
    )
    run.start()
    folder = tmp_path / "runs" / "records" / "slow"
    while run.is_alive() and not (folder / "trials.parquet").is_file():
        time.sleep(0.05)
    while run.is_alive() and record.read(folder)["status"].to_pylist().count("done") < 3:
        time.sleep(0.05)
    assert main(["table", "slow", "--store", store]) == 0
    table = capsys.readouterr().out
    assert main(["claims", "slow", "--store", store]) == 0
    claims = capsys.readouterr().out
    assert main(["report", "slow", "--store", store, "--output", str(tmp_path / "slow.html")]) == 0
    page = (tmp_path / "slow.html").read_text()
    run.join()
    assert ends == [0]
    assert "PARTIAL: " in table
    assert "missing of 12 trials" in table
    assert claims.startswith("PARTIAL: ")
    assert "<strong>Partial:</strong> " in page
    capsys.readouterr()
    assert main(["table", "slow", "--store", store]) == 0
    assert "missing" not in capsys.readouterr().out.lower()


READER = """
import sys
from pathlib import Path
from orchestrator import record
folder, last = Path(sys.argv[1]), -1
seen = set()
while last < int(sys.argv[2]):
    table = record.read(folder)
    values = set(table["metric.loss"].to_pylist())
    assert len(values) == 1 and table.num_rows == 5000, "half of one and half of another"
    assert values.pop() >= last
    last = table["metric.loss"][0].as_py()
    seen.add(last)
print(len(seen))
"""


def test_readers_see_one_writing_or_the_next(tmp_path: Path) -> None:
    """Two processes read while this one writes: each time the whole of one state, never an older one than before."""
    (tmp_path / "slow.yaml").write_text(SLOW)
    spec, folder, last = read(tmp_path / "slow.yaml"), tmp_path / "records", 150

    def write(value: int) -> None:
        rows = {"axis.seed": range(5000), "metric.loss": [float(value)] * 5000, "status": ["done"] * 5000}
        record.write(folder, pyarrow.table({name: list(column) for name, column in rows.items()}), spec)

    write(0)
    command = [sys.executable, "-c", READER, str(folder), str(last)]
    readers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for value in range(1, last + 1):
        write(value)
        time.sleep(0.02)
    printed = [reader.communicate()[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert all(json.loads(text) >= 1 for text in printed)
    assert [path.name for path in folder.iterdir()] == ["trials.parquet"], "readers write nothing"


def test_readers_write_nothing(tmp_path: Path, often: None, capsys: pytest.CaptureFixture[str]) -> None:
    spec, store = tmp_path / "slow.yaml", str(tmp_path / "runs")
    spec.write_text(SLOW.replace("0.2", "0"))
    assert main(["run", str(spec), "--store", store, "--inline", "--quiet"]) == 0

    def state() -> dict[str, tuple[int, int]]:
        paths = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    before = state()
    for arguments in (
        ["table", "slow"],
        ["table", "slow", "--explain", "x=1,value"],
        ["claims", "slow"],
        ["report", "slow", "--output", str(tmp_path / "page.html")],
        ["report", "slow", "--bundle", str(tmp_path / "slow.zip")],
    ):
        assert main([*arguments, "--store", store]) == 0
    assert state() == before
