"""What is sent of a sweep: the same content is the same archive, with all that it needs and nothing else."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
WORKLOAD = """
import json, numpy
from mine import constants
from beside import more
import alone
from workloads.contract import Config, Context, Result
class OwnConfig(Config):
    x: float = 1.0
def run(config: OwnConfig, context: Context) -> Result:
    return Result({"x": config.x})
"""
BASE = """
name: base
stages:
  say: {workload: mine.saying}
axes:
  say.x: [1, 2]
tables:
  xs: {rows: [say.x], values: [x], paper: xs.csv}
"""
MAKE = """
import json, sys
from pathlib import Path
from orchestrator.cluster.archive import archive
from orchestrator.plan import plan
from orchestrator.spec import read
sys.path.insert(0, ".")
made = archive([plan(read(Path("sweep.yaml")), Path("data"))], ["--store=$(touch owned)"])
Path(sys.argv[1]).write_bytes(made.content)
print(json.dumps([made.name, made.identity]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "mine/saying.py": WORKLOAD,
        "mine/constants.py": "X = 1\n",
        "mine/deeper/unused.py": "",
        "mine/templates/of_python_2.py": "print 'hello'\n",
        "mine/.hidden.py": "SECRET = 1\n",
        "mine/notes.txt": "not code",
        "beside/more/__init__.py": "import below\n",
        "below.py": "",
        "alone.py": "",
        "unrelated.py": "",
        ".env": "PASSWORD=1",
        "data/huge.bin": "x" * 1000,
        "runs/nodes/x.py": "",
        "base.yaml": BASE,
        "sweep.yaml": "extends: base.yaml\nname: own\n",
        "xs.csv": "say.x,metric,value\n1,x,1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def make(folder: Path, name: str = "made.zip") -> tuple[str, str, dict[str, bytes]]:
    """The name and identity of the archive, and its files; in a process of its own, as `submit` makes it."""
    command = [sys.executable, "-c", MAKE, name]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(REPO)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    content = (folder / name).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return (*json.loads(done.stdout), {item: file.read(item) for item in file.namelist()})


def test_it_holds_what_the_sweep_needs_and_nothing_else(folder: Path) -> None:
    name, _, files = make(folder)
    own = {path for path in files if not path.startswith(("orchestrator/", "workloads/"))}
    assert own == {
        *("request.json", "provenance.json", "specs/1/spec.yaml", "specs/1/xs.csv"),
        *("specs/1/original-1-sweep.yaml", "specs/1/original-2-base.yaml"),
        *("mine/saying.py", "mine/constants.py", "mine/deeper/unused.py", "mine/templates/of_python_2.py"),
        *("beside/more/__init__.py", "below.py", "alone.py"),
    }
    ours = {
        path.relative_to(REPO).as_posix()
        for top in ("orchestrator", "workloads")
        for path in (REPO / top).rglob("*.py")
    }
    assert files.keys() - own == ours
    assert json.loads(files["request.json"]) == {"arguments": ["run", "specs/1/spec.yaml", "--store=$(touch owned)"]}
    assert name.startswith("sweep-")
    assert len(name) == len("sweep-.zip") + 64


def test_its_name_is_its_content(folder: Path) -> None:
    first = make(folder)
    assert make(folder, "again.zip")[:2] == first[:2]
    (folder / "unrelated.py").write_text("changed = True\n")
    assert make(folder, "unrelated.zip")[:2] == first[:2]
    for place in ("below.py", "xs.csv"):
        with open(folder / place, "a") as file:
            file.write("# changed\n" if place != "xs.csv" else "2,x,2\n")
        changed = make(folder, "changed.zip")
        assert changed[0] != first[0]
        assert changed[1] != first[1]
        first = changed


def test_a_commit_alone_is_no_other_sweep(folder: Path) -> None:
    from orchestrator.cluster.archive import Archive

    one, other = (Archive({"a.py": b"x", "provenance.json": text}) for text in (b"{}", b'{"commit": "1"}'))
    assert one.identity == other.identity
    assert one.name != other.name
