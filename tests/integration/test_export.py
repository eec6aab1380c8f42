"""Where Ray is not: what `python -m workloads run` computes and `sweep import` adds is what a direct run makes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from orchestrator.cli import main as sweep
from workloads.__main__ import main as workloads

REPO = Path(__file__).resolve().parents[2]
FORBIDDEN = ("orchestrator", "ray", "mlflow", "pyarrow", "pandas", "safetensors", "yaml", "rich", "psutil")
HOOK = f"""
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FORBIDDEN}:
            raise ModuleNotFoundError(f"{{name}} is not on this machine", name=name)
sys.meta_path.insert(0, Forbid())
"""
TRAIN = """
name: tiny
stages:
  fit:
    workload: train
    data: {name: digits, subset: 200, confusion: 50}
    model: {name: mlp, width: 16, depth: 1}
    optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
    batch_size: 32
    stop: {epochs: 4}
  go_on:
    workload: train
    start: {from: fit}
    data: {name: digits, subset: 200}
    optimizer: {name: sgd, lr: 0.1}
    batch_size: 32
    stop: {epochs: 3}
  measure: {workload: measure, from: go_on, measures: [test_accuracy, distance_from_start]}
axes:
  go_on.optimizer.weight_decay: [0, 0.01]
  seed: 2
"""
WALK = """
name: walks
stages:
  first:  {workload: tests.toys.walk, steps: 4, pause: 0.05}
  second: {workload: tests.toys.walk, from: first, steps: 3, pause: 0.05}
axes:
  seed: 3
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has neither Ray nor MLflow nor anything of the orchestrator."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hook"), str(REPO)])}


def compute(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workloads", "run", *map(str, arguments)]
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which both sweeps have been run."""
    folder = tmp_path_factory.mktemp("direct")
    assert all(run(spec(folder, text), folder / "store") == 0 for text in (TRAIN, WALK))
    return folder / "store"


def spec(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def run(path: Path, store: Path, *options: str) -> int:
    return sweep(["run", str(path), "--store", str(store), "--inline", "--plain", *options])


def export(path: Path, folder: Path, store: Path, *options: str) -> int:
    return sweep(["export", str(path), str(folder), "--store", str(store), *options])


def bring_in(store: Path, *folders: Path) -> int:
    return sweep(["import", *map(str, folders), "--store", str(store)])


def records(store: Path, name: str) -> dict[str, dict[str, list]]:
    """Every table and column that must not depend on where the sweep ran; NaN as text, to be equal to itself."""
    return {
        path.relative_to(store).as_posix(): {
            column: ["nan" if value != value else value for value in table[column].to_pylist()]
            for column in table.column_names
            if not column.startswith("meta.")
        }
        for path in sorted((store / "records" / name).rglob("*.parquet"))
        for table in [pyarrow.parquet.read_table(path)]
    }


def trials(store: Path) -> dict[str, list]:
    return records(store, "tiny")["records/tiny/trials.parquet"]


def files(store: Path, like: Path | None = None) -> dict[str, bytes]:
    """The files of every node but what says where and how fast it ran; only of nodes that are in `like` too."""
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in store.glob("nodes/??/*/*")
        if path.name != "outcome.json" and (like or store).joinpath(*path.parent.parts[-3:]).is_dir()
    }


def test_it_is_what_a_direct_run_makes(
    direct: Path, tmp_path: Path, elsewhere: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    path, store = spec(tmp_path, TRAIN), tmp_path / "store"
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    assert not store.exists()
    done = compute(elsewhere, package, out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 nodes: 14 computed, 0 reused, 0 failed, 0 skipped, 0 left" in done.stdout.splitlines()[-1]
    assert bring_in(store, out) == 0
    assert "14 nodes added, 0 were there, 0 failed there" in capsys.readouterr().out
    assert run(path, store) == 0
    assert "0 nodes executed, 14 reused; 4 trials: 4 done" in capsys.readouterr().out
    assert files(store) == files(direct, like=store)
    assert len([name for name in files(store) if name.endswith(".safetensors")]) == 2 * 2 + 4
    assert records(store, "tiny") == records(direct, "tiny")
    assert bring_in(store, out) == 0
    assert "0 nodes added, 14 were there" in capsys.readouterr().out
    assert export(path, tmp_path / "again", store) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert not (tmp_path / "again").exists()


def test_it_starts_from_what_is_finished(direct: Path, tmp_path: Path, elsewhere: dict[str, str]):
    """Measures on a trained network, whose start is the end of another: both weights files are in the package."""
    path, store = spec(tmp_path, TRAIN), tmp_path / "store"
    assert run(path, store, "--set", "measure.measures=[train_accuracy]") == 0
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    kept = json.loads((package / "nodes.json").read_text())
    assert {node["workload"] for node in kept["nodes"]} == {"measure"}
    assert len([*package.glob("inputs/*/weights.safetensors")]) == 4 + 2
    assert not [*package.glob("inputs/*/start.safetensors")]
    assert compute(elsewhere, package, out).returncode == 0
    assert bring_in(store, out) == 0
    assert run(path, store) == 0
    assert records(store, "tiny") == records(direct, "tiny")


def test_a_killed_run_goes_on(direct: Path, tmp_path: Path, elsewhere: dict[str, str]):
    path, store = spec(tmp_path, WALK), tmp_path / "store"
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    command = [sys.executable, "-m", "workloads", "run", str(package), str(out)]
    first = subprocess.Popen(command, cwd=REPO, env=elsewhere, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len([*out.glob("nodes/[!.]*/result.json")]) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (out / "nodes" / f".{'0' * 40}-12345678").mkdir()  # as if it had been killed while it wrote a result
    before = len([*out.glob("nodes/[!.]*/result.json")])
    again = compute(elsewhere, package, out)
    assert again.returncode == 0, again.stdout + again.stderr
    assert 0 < before < 6
    assert f"{6 - before} computed, {before} reused" in again.stdout
    assert bring_in(store, out) == 0
    assert run(path, store) == 0
    assert files(store) == files(direct, like=store)


@pytest.mark.parametrize("array", ["off", "2"])
def test_pieces_of_a_few_moments(direct: Path, array: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Time is up at the first chance, so that every piece ends in the middle of a walk."""
    path, store = spec(tmp_path, WALK), tmp_path / "store"
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    piece = ["run", str(package), str(out), "--minutes", "1e-6", "--array", array]
    codes, under_way = [workloads(piece)], 0
    while codes[-1] == 3 and len(codes) < 60:
        under_way = max(under_way, len([*out.glob("work/*/checkpoint.safetensors")]))
        codes.append(workloads(piece))
    assert codes[-1] == 0
    resumed = [json.loads(path.read_text())["meta"]["resumed_at"] for path in out.glob("nodes/*/result.json")]
    assert sorted(resumed) == [3] * 3 + [4] * 3  # a walk offers its state after the last step too
    assert len(codes) >= (3 * (4 + 3)) / int(array.replace("off", "1"))
    assert under_way == int(array.replace("off", "1"))
    assert not [*out.glob("work/*")]
    assert bring_in(store, out) == 0
    capsys.readouterr()
    assert run(path, store) == 0
    assert "0 nodes executed, 6 reused" in capsys.readouterr().out
    assert files(store) == files(direct, like=store)
    assert records(store, "walks") == records(direct, "walks")


def test_arrays_say_how_many_were_together(direct: Path, tmp_path: Path):
    path, store = spec(tmp_path, WALK), tmp_path / "store"
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    assert workloads(["run", str(package), str(out), "--array", "2"]) == 0
    results = [json.loads(path.read_text()) for path in out.glob("nodes/*/result.json")]
    assert [(result["meta"]["array"], result["seconds"]) for result in results] == [(2, 0.5)] * 6
    assert bring_in(store, out) == 0
    assert files(store) == files(direct, like=store)


@pytest.mark.parametrize(("keep", "left"), [("all", 8), ("needed", 0), ("none", 0)])
def test_weights_need_not_come_back(
    direct: Path, keep: str, left: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, store = spec(tmp_path, TRAIN), tmp_path / "store"
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    assert workloads(["run", str(package), str(out), "--weights", keep]) == 0
    assert len([*out.rglob("*.safetensors")]) == left
    capsys.readouterr()
    assert bring_in(store, out) == 0
    said = capsys.readouterr().out
    assert ("6 left out, as their weights were not kept" in said) == (keep != "all")
    assert run(path, store) == 0
    assert f"0 nodes executed, {14 if keep == 'all' else 8} reused; 4 trials: 4 done" in capsys.readouterr().out
    assert trials(store) == trials(direct)


def test_a_start_whose_weights_did_not_come_back_is_told_with_a_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A training came with its weights, what it started from did not, and later somebody asks how far it went."""
    trained, *_ = TRAIN.partition("  measure:")
    path, store = spec(tmp_path, trained + "axes:\n  seed: 1\n"), tmp_path / "store"
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    assert workloads(["run", str(package), str(out), "--weights", "needed"]) == 0
    assert bring_in(store, out) == 0
    capsys.readouterr()
    assert export(spec(tmp_path, TRAIN), tmp_path / "further", store, "--limit", "1") == 2
    assert "missing; what is to be exported needs its weights: import them" in capsys.readouterr().err
    assert not (tmp_path / "further").exists()


def test_needed_weights_stay_where_nothing_starts_from_them(tmp_path: Path):
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(spec(tmp_path, WALK), package, tmp_path / "store") == 0
    assert workloads(["run", str(package), str(out), "--weights", "needed"]) == 0
    assert len([*out.rglob("*.safetensors")]) == 3  # the second walks; each began where a first one ended
    assert workloads(["run", str(package), str(out), "--weights", "none"]) == 0
    assert not [*out.rglob("*.safetensors")]


@pytest.mark.parametrize("array", ["off", "3"])
def test_a_failure_ends_what_needs_it_and_nothing_else(array: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, store = spec(tmp_path, WALK.replace("seed: 3", "first.fails_at: [null, 2]\n  seed: 2")), tmp_path / "store"
    package, out = tmp_path / "package", tmp_path / "out"
    assert export(path, package, store) == 0
    assert workloads(["run", str(package), str(out), "--array", array]) == 1
    lines = capsys.readouterr().out
    assert lines.count("failed: RuntimeError: fell at step 2") == 2
    assert lines.count("skipped: it needs") == 2
    assert "8 nodes: 4 computed, 0 reused, 2 failed, 2 skipped, 0 left" in lines
    assert bring_in(store, out) == 0
    assert "4 nodes added, 0 were there, 2 failed there" in capsys.readouterr().out
    assert run(path, store) == 1
    assert "fell at step 2" in capsys.readouterr().out
    assert sweep(["status", "--store", str(store)]) == 0
    assert "2 failed" in capsys.readouterr().out
    assert workloads(["run", str(package), str(out)]) == 1  # tried once more
    assert "0 computed, 4 reused, 2 failed, 2 skipped" in capsys.readouterr().out


@pytest.fixture
def walked(tmp_path: Path) -> Path:
    """A folder with `package` and `out` of the walks, all computed."""
    assert export(spec(tmp_path, WALK), tmp_path / "package", tmp_path / "unused") == 0
    assert workloads(["run", str(tmp_path / "package"), str(tmp_path / "out")]) == 0
    return tmp_path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


WRONG_RESULTS = {
    "bytes": (lambda out, one: flip(one / "weights.safetensors"), "weights.safetensors: damaged (checksum differs)"),
    "file gone": (lambda out, one: (one / "arrays.npz").unlink(), "arrays.npz: No such file"),
    "config": (lambda out, one: change(one / "result.json", config={}), "config is not that of node"),
    "seed": (lambda out, one: change(one / "result.json", seed=17), "seed is not that of node"),
    "start": (lambda out, one: change(one / "result.json", start="b" * 40), "which is no input of the node"),
    "field": (lambda out, one: change(one / "result.json", more=1), "result.json: more: "),
    "another node": (lambda out, one: shutil.move(one, one.with_name("c" * 40)), "not in the package"),
    "format": (lambda out, one: change(out / "nodes.json", format=2), "package format 2; this version reads 1"),
    "no package": (lambda out, one: (out / "nodes.json").unlink(), "no results"),
}


@pytest.mark.parametrize("wrong", WRONG_RESULTS)
def test_wrong_results_are_refused(wrong: str, walked: Path, capsys: pytest.CaptureFixture[str]):
    damage, says = WRONG_RESULTS[wrong]
    out, store = walked / "out", walked / "store"
    damage(out, sorted(out.glob("nodes/*"))[0])
    assert bring_in(store, out) == 2
    assert says in capsys.readouterr().err
    assert not store.exists()


def test_wrong_requests_are_refused_and_nothing_is_written(walked: Path, capsys: pytest.CaptureFixture[str]):
    package, out, fresh = walked / "package", walked / "out", walked / "fresh"
    (walked / "full").mkdir()
    (walked / "full" / "mine.txt").write_text("mine")

    def refused(code: int, says: str) -> None:
        assert code == 2
        assert says in capsys.readouterr().err
        assert not fresh.exists()

    refused(export(walked / "sweep.yaml", walked / "full", walked / "unused"), "not an empty folder")
    refused(workloads(["run", str(walked / "full"), str(fresh)]), "not a package")
    refused(workloads(["run", str(package), str(walked / "full")]), "neither empty nor the results of a package")
    refused(workloads(["run", str(package), str(fresh), "--device", "cuda:9"]), "torch sees")
    refused(workloads(["run", str(package), str(fresh), "--device", "abacus"]), "allowed: cpu, cuda")
    assert export(walked / "sweep.yaml", walked / "other", walked / "unused", "--limit", "1") == 0
    refused(workloads(["run", str(walked / "other"), str(out)]), "another package")
    node = json.loads((package / "nodes.json").read_text())["nodes"][0]
    change(package / "nodes.json", nodes=[node | {"workload": "tests.toys.unheard"}])
    refused(workloads(["run", str(package), str(fresh)]), "no workload 'tests.toys.unheard'")
    change(package / "nodes.json", nodes=[node | {"parts": {"VERSION of model": "2"}}])
    refused(workloads(["run", str(package), str(fresh)]), "VERSION of model is 1 here, 2 in the package")
    change(package / "nodes.json", format=2)
    refused(workloads(["run", str(package), str(fresh)]), "package format 2")


def test_a_damaged_input_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, store, package = spec(tmp_path, WALK), tmp_path / "store", tmp_path / "package"
    assert run(path, store, "--set", "second.steps=1") == 0
    assert export(path, package, store) == 0
    weights = next(package.glob("inputs/*/weights.safetensors"))
    node = weights.parent.name
    flip(weights)
    assert workloads(["run", str(package), str(tmp_path / "out")]) == 2
    assert "damaged (checksum differs)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    flip(next(store.glob(f"nodes/??/{node}/weights.safetensors")))
    assert export(path, tmp_path / "again", store) == 2
    assert "damaged (checksum differs)" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_missing_data_is_refused_where_it_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Data with a published checksum may be missing where the package is made; data known by its content may not."""
    path, package, store = spec(tmp_path, TRAIN.replace("digits", "mnist")), tmp_path / "package", tmp_path / "store"
    assert export(path, package, store, "--data", str(tmp_path)) == 0
    assert workloads(["run", str(package), str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    own = spec(tmp_path, TRAIN.replace("name: digits", "name: npz, path: own.npz"))
    assert export(own, tmp_path / "own", store, "--data", str(tmp_path)) == 2
    assert "own.npz: no such file" in capsys.readouterr().err
    assert not (tmp_path / "own").exists()
