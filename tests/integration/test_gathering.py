"""A sweep with a stage that gathers, really run: in this process, on Ray, then with one more seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_sweep import executed, results, sweep

SWEEP = """\
name: gathers
stages:
  fit: {workload: tests.toys.gather}
  all: {workload: tests.toys.gather, over: seed, from: fit, time_limit: 5min}
axes:
  fit.x: [1, 2]
  seed: 3
tables:
  t: {rows: fit.x, values: [total, count]}
"""


def gathered(store: Path, metric: str) -> list[float | None]:
    return results(store, "gathers")[f"metric.{metric}"]


@pytest.mark.parametrize(
    "how", [["--inline"], pytest.param(["--jobs", 2], marks=[pytest.mark.ray, pytest.mark.mlflow])]
)
def test_a_gathering_stage_runs_once_a_group(how: list[object], tmp_path: Path) -> None:
    path, store = tmp_path / "gathers.yaml", tmp_path / "store"
    path.write_text(SWEEP)
    done = sweep("run", path, "--store", store, "--quiet", *how)
    assert (done.returncode, executed(done.stdout)) == (0, 8), done.stdout + done.stderr
    assert gathered(store, "total") == [33, None, None, 63, None, None]
    assert gathered(store, "of.input.2") == [12, None, None, 22, None, None]
    shown = sweep("table", "gathers", "--store", store, "--format", "csv").stdout
    assert "1,total,mean_std,33.0,,,,1,0,0,0,0" in shown, "one value, and none missing"
    path.write_text(SWEEP.replace("seed: 3", "seed: 4"))
    more = sweep("run", path, "--store", store, "--quiet", "--inline")
    assert executed(more.stdout) == 4, "two new fits, and what gathers them"
    assert gathered(store, "count") == [4, None, None, None, 4, None, None, None]
