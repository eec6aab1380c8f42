"""Where numbers come from: `--explain`, the comment of the LaTeX, and the DataFrame, on sweeps that were really run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pandas
import pytest

import orchestrator
from orchestrator.cli import main
from orchestrator.errors import NotFound, StoreError
from orchestrator.record import METRIC
from tests.drawn import ODD, PLANE, run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origins")
    for text in (PLANE, ODD):
        run(folder, text)
    return folder / "runs"


def said(store: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["table", *arguments, "--store", str(store)]) == 0
    return capsys.readouterr().out


def refused(store: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["table", *arguments, "--store", str(store)]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "cell",
    ["5,0.1/norm", "width=5,noise=0.1/norm", "fit.width=5, fit.noise=0.1 / norm", "5 , 0.1/ norm"],
)
def test_a_number_names_its_trials_nodes_commit_and_files(
    store: Path, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = orchestrator.results("plane", store)
    own = frame[(frame["axis.fit.width"] == 5) & (frame["axis.fit.noise"] == 0.1)]
    text = said(store, "plane", "--explain", cell, capsys=capsys)
    assert text.startswith("accuracy: width=5, noise=0.1/norm\nnorm 3.0 ± 1.4: mean ± standard error, n=2\n")
    for _, trial in own.iterrows():
        assert f"seed={trial['axis.seed']}: norm {trial['metric.norm']!r}, done, trial {trial['meta.trial']}" in text
        key, commit = trial["meta.node.fit"], trial["meta.commit"]
        assert f"  commit {commit}\n  fit  {key}  {store}/nodes/{key[:2]}/{key}/ (arrays.npz, history.parquet" in text
    assert len(re.findall(r"^seed=", text, re.MULTILINE)) == 2


def test_as_json_its_values_make_the_number(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads(said(store, "plane", "--explain", "40,0.3/test_accuracy", "--format", "json", capsys=capsys))
    cells = json.loads(said(store, "plane", "--format", "json", capsys=capsys))["cells"]
    assert (value["row"], value["column"], value["metric"]) == ({"fit.width": 40}, {"fit.noise": 0.3}, "test_accuracy")
    mean = sum(trial["value"] for trial in value["trials"]) / len(value["trials"])
    (cell,) = [
        cell
        for cell in cells
        if (cell["axis.fit.width"], cell["axis.fit.noise"], cell["metric"]) == (40, 0.3, "test_accuracy")
    ]
    assert cell["mean"] == pytest.approx(mean)
    for trial in value["trials"]:
        for files in trial["files"].values():
            assert all(Path(path).is_file() for path in files)


def test_a_level_with_a_comma_and_one_with_greek_letters(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(store, "odd", "--explain", "a, b,norm", capsys=capsys).startswith("distance: a, b, norm\n")
    assert "seed=2: norm " in said(store, "odd", "--explain", "μ² = $1$ & _x,norm", capsys=capsys)
    failed = said(store, "odd", "--explain", "_fails,norm", capsys=capsys)
    assert "n=0; 3 failed of 3 trials" in failed
    assert len(re.findall(r"^  walk: RuntimeError: fell at step 2$", failed, re.MULTILINE)) == 3
    assert len(re.findall(r"/failed/[0-9a-f]+\.json$", failed, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plane", "--explain", "6,0.1/norm"], "no row '6'; allowed: width=5, width=10, width=40"),
        (["plane", "--explain", "width=4,0.1/norm"], "did you mean 'width=40'?"),
        (["plane", "--explain", "5,noise=0.1/nrm"], "no column 'noise=0.1/nrm'; allowed: "),
        (["plane", "--explain", "5,noise=0.1/nrm"], "did you mean 'noise=0.1/norm'?"),
        (["plane", "--explain", "5"], "ROW,COLUMN is needed; rows: width=5, width=10, width=40; columns: noise=0.1/"),
        (["odd", "--explain", "a b,norm"], "did you mean 'a, b'?"),
        (["plane", "--explain", "5,0.1/norm", "--format", "csv"], "--explain with --format csv; allowed: text, json"),
    ],
)
def test_a_cell_that_is_not_there(
    store: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(store, *arguments, capsys=capsys)


def test_several_tables_ask_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, PLANE.replace("tables:\n", "tables:\n  small: {values: norm}\n"))
    message = refused(tmp_path / "runs", "plane", "--explain", "5,0.1/norm", capsys=capsys)
    assert "name it with --table; allowed: small, accuracy" in message
    text = said(tmp_path / "runs", "plane", "--table", "small", "--explain", "all,norm", capsys=capsys)
    assert "width=5, noise=0.1, seed=0: norm " in text, "what the cell pools is said"
    assert text.count(", done, trial ") == 12


def test_a_number_is_explained_as_the_table_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "name: fixed\nstages: {walk: {workload: tests.toys.walk}}\naxes: {seed: 2}\n"
    run(tmp_path, text + "tables: {norms: {values: norm, decimals: 5}}\n")
    store = tmp_path / "runs"
    number = said(store, "fixed", "--explain", "all,norm", capsys=capsys).splitlines()[1].split(":")[0]
    assert re.fullmatch(r"norm \d+\.\d{5} ± \d+\.\d{5}", number)
    assert number.removeprefix("norm ") in said(store, "fixed", capsys=capsys)


def test_the_latex_has_the_origins_in_a_comment(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(store, "plane", "--format", "latex", capsys=capsys)
    table, _, comment = text.partition("% Origins")
    assert table.rstrip().endswith("\\end{table}")
    assert all(line.startswith("% ") for line in comment.splitlines()[1:])
    frame = orchestrator.results("plane", store)
    for _, trial in frame.iterrows():
        for metric in ("norm", "test_accuracy"):
            assert (
                f"seed={trial['axis.seed']} {trial[METRIC + metric]!r} (fit {trial['meta.node.fit'][:12]})" in comment
            )
    assert f"% commits: {frame['meta.commit'][0]}\n" in comment


def test_the_frame_is_the_file(store: Path, tmp_path: Path) -> None:
    frame = orchestrator.results("odd", store=store)
    again = pandas.read_parquet(store / "records" / "odd" / "trials.parquet")
    pandas.testing.assert_frame_equal(frame, again)
    assert frame["status"].value_counts().to_dict() == {"done": 9, "diverged": 3, "failed": 3}
    assert numpy.isnan(frame.loc[frame.status == "failed", "metric.norm"]).all()
    packed = tmp_path / "odd.zip"
    assert main(["report", "odd", "--store", str(store), "--bundle", str(packed)]) == 0
    pandas.testing.assert_frame_equal(orchestrator.results(str(packed)), again)


def test_the_frame_of_nothing(store: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no records of a sweep 'plan'; allowed: odd, plane; did you mean 'plane'"):
        orchestrator.results("plan", store)
    with pytest.raises(NotFound, match="holds no records of a sweep 'x'; allowed: none"):
        orchestrator.results("x", tmp_path)
    damaged = tmp_path / "records" / "x" / "trials.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes((store / "records" / "odd" / "trials.parquet").read_bytes()[:-9])
    with pytest.raises(StoreError, match="damaged"):
        orchestrator.results("x", tmp_path)


def test_the_package_stays_light() -> None:
    code = (
        "import sys, orchestrator; heavy = {'pandas', 'pyarrow', 'numpy', 'torch', 'ray', 'mlflow'}\n"
        "assert callable(orchestrator.results) and not heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
