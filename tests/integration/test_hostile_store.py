"""A colleague's store or spec that means harm: whatever reads it, nothing of theirs is executed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy
import pytest

from orchestrator.storage.outcome import from_json, to_json
from orchestrator.store import Outcome
from tests.command import sweep_here

REPO = Path(__file__).resolve().parents[2]
NETS = """
name: nets
stages:
  fit:
    workload: train
    data: {name: digits, subset: 100}
    model: {name: mlp, width: 8, depth: 2}
    optimizer: {name: sgd, lr: 0.05}
    stop: {epochs: 2}
  measure: {workload: measure, from: fit, measures: [test_accuracy]}
axes:
  seed: 1
tables:
  accuracy: {values: [test_accuracy]}
"""
HOSTILE = """
name: hostile
stages:
  fit: {workload: runs.evil}
axes:
  seed: 1
"""
EVIL = """
from pathlib import Path
Path("owned").write_text("by a module")
from workloads.contract import Config, Context, Result
class EvilConfig(Config):
    pass
def run(config: EvilConfig, context: Context) -> Result:
    return Result({"x": 1.0})
"""


class Touch:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch owned",)


PICKLE = pickle.dumps({"weight": Touch()})


def objects() -> bytes:
    """Arrays of objects, as numpy pickles them."""
    buffer = io.BytesIO()
    numpy.savez(buffer, levels=numpy.array([Touch()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def sweep(folder: Path, *arguments: str, own: bool = False) -> subprocess.CompletedProcess[str]:
    """In that folder, in this process, or in one of its `own` where it matters what that has imported before."""
    command = [sys.executable, "-m", "orchestrator.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    if own:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    else:
        with chdir(folder):
            done = sweep_here(*arguments)
    assert not [*folder.rglob("owned")], (arguments, done.stdout + done.stderr)
    assert "Traceback" not in done.stderr, (arguments, done.stderr)
    return done


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep and its store."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "nets.yaml").write_text(NETS)
    done = sweep(folder, "run", "nets.yaml", "--inline", "--quiet")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy, to be harmed."""
    subprocess.run(["cp", "-r", *map(str, sound.iterdir()), str(tmp_path)], check=True)
    return tmp_path


def fit(folder: Path) -> Path:
    """The outcome of the node that was trained."""
    return next(
        path for path in folder.glob("runs/nodes/??/*/outcome.json") if (path.parent / "weights.safetensors").exists()
    )


def plant(path: Path, name: str, content: bytes) -> None:
    """A file of a node, with checksums as if it had always been so."""
    outcome = from_json(path.read_text())
    (path.parent / name).write_bytes(content)
    files = {**outcome.files, name: hashlib.sha256(content).hexdigest()}
    path.write_text(to_json(Outcome(**{**vars(outcome), "files": files})))


def forget_measures(folder: Path) -> None:
    for path in folder.glob("runs/nodes/rows/*.jsonl"):
        path.unlink()
    for path in folder.glob("runs/index/*"):
        path.unlink()


def read_it_all(folder: Path) -> None:
    """Every command that reads a store."""
    key = fit(folder).parent.name
    for line in (
        *("status", "table nets", "claims nets", "report nets", "figures nets", "logs nets", "gc", "sync --rebuild"),
        *(f"why {key}", f"logs nets --trial {key}", "diff nets.yaml", "plan nets.yaml", "doctor", "list"),
    ):
        sweep(folder, *line.split())


CASES = [
    ("weights.safetensors", "pickle"),
    *(
        pytest.param(name, content, marks=pytest.mark.slow)
        for name in ("weights.safetensors", "start.safetensors")
        for content in ("truncated", "objects", "empty")
    ),
    *(pytest.param(name, "pickle", marks=pytest.mark.slow) for name in ("start.safetensors", "history.parquet")),
    pytest.param("arrays.npz", "objects", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "content"), CASES)
def test_files_of_a_node_execute_nothing(folder: Path, name: str, content: str) -> None:
    whole = (fit(folder).parent / name).read_bytes() if (fit(folder).parent / name).exists() else b"PK\x03\x04"
    bad = {"pickle": PICKLE, "truncated": whole[: len(whole) // 2], "objects": objects(), "empty": b""}[content]
    plant(fit(folder), name, bad)
    forget_measures(folder)
    done = sweep(folder, "run", "nets.yaml", "--inline", "--plain")
    if name == "weights.safetensors":
        assert done.returncode == 1
        assert "failed" in done.stdout + done.stderr
    if name == "history.parquet":
        assert done.returncode == 0, done.stdout + done.stderr
        assert "computed again" in done.stdout + done.stderr
        assert PICKLE not in [path.read_bytes() for path in folder.glob("runs/nodes/??/*/history.parquet")]


@pytest.mark.slow
def test_whatever_reads_a_hostile_store_executes_nothing(folder: Path) -> None:
    for name in ("weights.safetensors", "start.safetensors", "history.parquet"):
        plant(fit(folder), name, PICKLE)
    plant(fit(folder), "arrays.npz", objects())
    for place in ("index/index.parquet", "calibration.json", "nodes/rows/x.jsonl", "records/nets/trials.parquet"):
        (folder / "runs" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "runs" / place).write_bytes(PICKLE)
    read_it_all(folder)


@pytest.mark.parametrize("package", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_code_that_lies_in_a_store_is_not_imported(folder: Path, package: bool) -> None:
    """The store is ./runs, and the folder that the command is called in can be imported from."""
    store = folder / "runs"
    (store / "evil.py").write_text(EVIL)
    if package:
        (store / "__init__.py").write_text(EVIL)
    (store / "sweeps" / "hostile").mkdir()
    (store / "sweeps" / "hostile" / "spec.yaml").write_text(HOSTILE)
    (store / "sweeps" / "hostile" / "plan.json").write_text(json.dumps({"scale": None, "set": {}}))
    for line in (
        "status",
        "status hostile",
        "table hostile",
        "report hostile",
        "gc",
        "run runs/sweeps/hostile/spec.yaml",
    ):
        sweep(folder, *line.split(), *(["--inline"] if line.startswith("run") else []), own=True)
    said = sweep(folder, "status", "hostile", own=True)
    assert said.returncode == 2
    assert "runs" in said.stderr
    inside = sweep(store, "status", "hostile", "--store", ".", own=True)
    assert inside.returncode == 2


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch owned']\n",
        "name: x\nstages: !!python/object/new:os.system ['touch owned']\n",
        "!!python/object/apply:subprocess.run [[touch, owned]]\n",
        "name: x\ntitle: !!python/name:os.system\nstages: {a: {workload: train}}\n",
        "name: x\nstages: {a: {workload: 'os;touch owned'}}\n",
        "name: x\nstages: {a: {workload: train, model: {name: \"__import__('os').system('touch owned')\"}}}\n",
    ],
)
def test_a_hostile_spec_executes_nothing(folder: Path, text: str) -> None:
    (folder / "hostile.yaml").write_text(text)
    for line in ("plan hostile.yaml", "run hostile.yaml --inline"):
        done = sweep(folder, *line.split())
        assert done.returncode == 2, done.stdout
        assert "hostile.yaml" in done.stderr
    (folder / "runs" / "sweeps" / "nets" / "spec.yaml").write_text(text)
    assert sweep(folder, "status", "nets").returncode == 2
