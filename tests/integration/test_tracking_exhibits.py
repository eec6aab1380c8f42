"""What MLflow shows of a whole sweep in the end: report and figures, made by `sweep run`, or later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.commands.request import saved_spec
from orchestrator.plan import plan
from orchestrator.report import build
from orchestrator.store import Store
from orchestrator.to_mlflow import exhibits
from orchestrator.to_mlflow.rebuild import RUNS
from orchestrator.to_mlflow.server import embedded_uri
from tests.drawn import SMALL

pytestmark = [pytest.mark.mlflow, pytest.mark.timeout(300)]
SHOWN = ["figures/triangle.svg", "report/index.html"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a sweep file; what is made of it goes to `runs/`."""
    (tmp_path / "small.yaml").write_text(f"# yaml-language-server: $schema=x.json\n# Is it so?\n{SMALL}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*options: str) -> int:
    return main(["run", "small.yaml", "--inline", "--plain", *options])


def above(folder: Path) -> dict[str, Path]:
    """The artifacts of the run above the others, by name: their files. There is one such run."""
    from mlflow import MlflowClient

    client = MlflowClient(embedded_uri(Store.at(folder / "runs")))
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`sweep.name` = 'small'")
    (found,) = (run for run in runs if run.data.tags["sweep.key"].startswith("sweep-run-"))
    assert found.info.status == "FINISHED"
    place = folder / "runs" / "mlartifacts" / "small" / found.info.run_id / "artifacts"
    return {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}


def test_a_run_ends_with_its_report_and_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    page = folder / "runs" / "sweeps" / "small" / "report" / "index.html"
    assert f"Report    {page}" in capsys.readouterr().out
    shown = {name: path.read_bytes() for name, path in above(folder).items()}
    assert {*SHOWN, "tables/accuracy.md", "claims.txt", "spec.yaml", "plan.json", "run.log"} <= shown.keys()
    assert b"<p>Is it so?</p>" in shown["report/index.html"], "the question, without the line for editors"
    assert main(["report", "small"]) == main(["figures", "small"]) == 0
    assert page.read_bytes() == shown["report/index.html"], "the command makes the same page"
    assert (page.parents[1] / "figures" / "triangle.svg").read_bytes() == shown["figures/triangle.svg"]
    # What has not changed is neither made nor sent again.
    made = page.stat().st_mtime_ns
    assert run() == 0
    assert main(["sync"]) == 0
    said = capsys.readouterr().out
    assert "Report    sweep report small\n" in said
    assert "MLflow has everything" in said
    assert page.stat().st_mtime_ns == made
    assert {name: path.read_bytes() for name, path in above(folder).items()} == shown


def test_what_cannot_be_made_is_said_and_fails_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file lies where the figures should go: a real one, that ends in an OSError."""
    place = folder / "runs" / "sweeps" / "small" / "figures"
    place.parent.mkdir(parents=True)
    place.write_text("in the way")
    assert run() == 0
    said, traced = capsys.readouterr()
    assert "Traceback" in traced, "outside of a test it goes to the log"
    assert "figures/triangle.svg was not made: " in said
    assert "sweep sync shows in MLflow what is made later" in said
    assert "figures/triangle.svg" not in above(folder)
    assert "report/index.html" in above(folder)
    place.unlink()
    assert main(["figures", "small"]) == main(["sync"]) == 0
    assert "1 of 1 files sent" in capsys.readouterr().out
    assert above(folder)["figures/triangle.svg"].read_bytes() == (place / "triangle.svg").read_bytes()


def test_a_large_sweep_says_how_to_make_its_report(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small:
        small.setattr(exhibits, "LARGE", 1)
        assert run() == 0
    said = capsys.readouterr().out
    assert "Report    sweep report small\n          not made of 2 trials (more than 1)" in said
    assert not above(folder).keys() & {*SHOWN}
    assert main(["report", "small"]) == main(["sync"]) == 0
    assert above(folder).keys() & {*SHOWN} == {"report/index.html"}
    assert main(["figures", "small"]) == main(["sync"]) == 0
    assert {*SHOWN} <= above(folder).keys()
    noted = [json.loads(line) for line in (folder / "runs" / "sweeps" / "small" / RUNS).read_text().splitlines()]
    assert [entry["op"] for entry in noted] == ["run", "artifacts", "end", "artifacts", "artifacts"]
    assert main(["sync", "--rebuild"]) == 0
    assert {*SHOWN} <= above(folder).keys()


def test_an_error_of_ours_while_the_report_is_made_is_no_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run() == 0
    store = Store.at(folder / "runs")
    made = plan(saved_spec(store, "small"), folder)

    def broken(dossier: object) -> str:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(build, "report", broken)
    show = exhibits.Exhibits(made, store, folder)
    files = show()["files"]
    assert "figures/triangle.svg" in files
    assert "report/index.html" not in files
    assert (show.report, show.unmade) == (None, "report/index.html was not made: ZeroDivisionError: a fault")
