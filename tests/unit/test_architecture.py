"""The arrows of the design, read off the source: who may import whom, how long things are, what no file names."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("orchestrator", "workloads")
MAX_FILE, MAX_FUNCTION = 300, 40
ONLY = {"ray": "orchestrator/schedule.py", "mlflow": "orchestrator/to_mlflow/experiment.py"}
WORKLOADS_NEVER = {"orchestrator", "ray", "mlflow", "pyarrow", "pandas", "safetensors"}
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
PICKLE_ALLOWED = {
    "workloads/datasets/cifar.py",  # published as pickles: read after their md5, only arrays let in
}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "managers", "manager"}
# Written in pieces, so that this file does not name what it forbids.
HOSTS = re.compile(
    "|".join(
        [
            "pypi" + r"\.org",
            "python" + "hosted",
            "download\\." + "pytorch",
            "(extra-)?index" + "-url",
            "find" + "-links",
        ]
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w.}>)])/(root|work/(main|shared)|" + r"tmp/w|home/(?!ray\b)\w+)/")


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level names of the modules that a file imports anywhere, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0], node.lineno


def committed() -> list[Path]:
    """The files that are, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return [ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name and (ROOT / name).is_file()]


def test_workloads_know_torch_and_no_orchestration() -> None:
    wrong = [
        f"{short(path)}:{line} imports {name}"
        for path in sources("workloads")
        for name, line in imports(path)
        if name in WORKLOADS_NEVER
    ]
    assert not wrong


@pytest.mark.parametrize("library", ONLY)
def test_one_file_imports(library: str) -> None:
    wrong = [
        f"{short(path)}:{line}"
        for path in sources(*PACKAGES)
        for name, line in imports(path)
        if name == library and short(path) != ONLY[library]
    ]
    assert not wrong, f"only {ONLY[library]} may import {library}"


def test_nothing_is_pickled() -> None:
    wrong = [
        f"{short(path)}:{line} imports {name}"
        for path in sources(*PACKAGES)
        for name, line in imports(path)
        if name in PICKLERS and short(path) not in PICKLE_ALLOWED
    ]
    assert not wrong


def test_files_are_short() -> None:
    lengths = {short(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*PACKAGES)}
    assert not {name: length for name, length in lengths.items() if length > MAX_FILE}


def test_functions_are_short() -> None:
    wrong = [
        f"{short(path)}:{node.lineno} {node.name}: {length} lines"
        for path in sources(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION
    ]
    assert not wrong


def test_modules_are_named_after_what_they_hold() -> None:
    names = [path for path in sources(*PACKAGES, "tests") if {path.stem, path.parent.name} & EMPTY_NAMES]
    assert not [short(path) for path in names]


@pytest.mark.parametrize("pattern", [HOSTS, MACHINE_PATHS], ids=["index hosts", "paths of one machine"])
def test_no_committed_file_names(pattern: re.Pattern[str]) -> None:
    wrong = []
    for path in committed():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{short(path)}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if pattern.search(line)
        ]
    assert not wrong


@pytest.mark.parametrize("module", ["orchestrator.cli", "workloads.train", "workloads.measure"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    """A refusal must come at once: the commands and the configs of the workloads load without torch, ray or mlflow."""
    code = f"import sys, {module}; print(*sorted({{'torch', 'ray', 'mlflow', 'sklearn'}} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
