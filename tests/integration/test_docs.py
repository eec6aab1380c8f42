"""The pages in docs/ hold: their sweep files can be planned, their workload runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator.cli import main
from workloads.train import TrainConfig

REPO = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_sweep_of_the_page_can_be_planned(scale: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "sweep.yaml").write_text(blocks("sweep-file.md", "yaml")[0])
    assert main(["plan", str(tmp_path / "sweep.yaml"), "--scale", scale, "--store", str(tmp_path / "store")]) == 0
    assert "corrupt" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((REPO / "sweeps").rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweep_can_be_planned_at_every_scale(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for scale in ("paper", "smoke", "desk"):
        assert main(["plan", str(path), "--scale", scale, "--store", str(tmp_path), "--json"]) == 0
    assert '"trials"' in capsys.readouterr().out


def test_the_page_of_the_papers_names_every_sweep_of_theirs():
    text = (REPO / "docs" / "papers.md").read_text(encoding="utf-8")
    for folder in ("bad_minima", "truth_or_backprop"):
        section = text[text.index(f"| sweep in `sweeps/{folder}/`") :].split("\n\n")[0]
        named = re.findall(r"`(\w+)`", section.split("\n", 1)[1])
        assert sorted(named) == sorted(path.stem for path in (REPO / "sweeps" / folder).glob("*.yaml"))


def test_what_the_page_says_is_shared_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweeps = sorted(map(str, (REPO / "sweeps" / "bad_minima").glob("*.yaml")))
    assert main(["plan", *sweeps, "--store", str(tmp_path), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["together"]["workloads"]
    said = f"{counts['train']['nodes']:,} trainings instead of {counts['train']['apart']:,}"
    assert said in (REPO / "docs" / "papers.md").read_text(encoding="utf-8")
    table = (REPO / "docs" / "planning.md").read_text(encoding="utf-8")
    for kind, row in counts.items():
        assert re.search(
            rf"{kind} +" + " +".join(str(row[name]) for name in ("apart", "nodes", "shared", "to_do")), table
        )


def test_workload_of_the_page_runs(tmp_path: Path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "coin.py").write_text(blocks("extending.md", "python")[0])
    (tmp_path / "coins.yaml").write_text(blocks("extending.md", "yaml")[0])
    run = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "run", "coins.yaml", "--inline", "--plain"],
        cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "heads" in run.stdout


def test_every_field_of_a_training_runs(tmp_path: Path):
    """The page's stage has them all: it runs, and no field of the config is missing from the page."""
    (tmp_path / "every.yaml").write_text(blocks("training.md", "yaml")[0])
    stage = yaml.safe_load(blocks("training.md", "yaml")[0])["stages"]["train"]
    assert stage.keys() - {"workload"} == TrainConfig.model_fields.keys()
    run = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "run", "every.yaml", "--inline", "--plain", "--array", "2"],
        cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "2 trials: 2 done" in run.stdout


def test_the_tables_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """The page's sweep prints what the page shows, but for digits that another kind of CPU may round otherwise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables.yaml").write_text(blocks("tables.md", "yaml")[0])
    (tmp_path / "widths.csv").write_text(blocks("tables.md", "csv")[0])
    assert main(["run", "tables.yaml", "--inline", "--quiet"]) == 0
    capsys.readouterr()

    def without_digits(text: str) -> list[str]:
        return re.sub(r"[-+]?\d+\.\d+|[-+]\d+|[─ ]+", " ", text).split()

    table, claims = blocks("tables.md", "text")
    assert main(["table", "widths", "--table", "accuracy"]) == 0
    assert without_digits(capsys.readouterr().out) == without_digits(table)
    assert main(["claims", "widths"]) == 0
    assert without_digits(capsys.readouterr().out) == without_digits(claims)
    assert main(["table", "widths", "--table", "accuracy", "--explain", "16,1"]) == 0
    assert capsys.readouterr().out.count("measure.test_accuracy") == 5
    exec(compile(blocks("tables.md", "python")[0], "tables.md", "exec"), {})
    assert capsys.readouterr().out.split()[:4] == ["mean", "std", "count", "axis.fit.model.width"]
