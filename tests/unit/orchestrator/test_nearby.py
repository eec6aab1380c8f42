"""One copy of the data on a machine, whole, however many workers ask for it at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.running.nearby import VARIABLE, nearby

ROOT = Path(__file__).resolve().parents[3]
ASK = """\
import shutil, sys
from pathlib import Path
from orchestrator.running import nearby
copy = shutil.copytree
def counted(*arguments, **named):
    if str(arguments[0]) == sys.argv[1]:  # it calls itself for the folders in it
        print("copies", flush=True)
    return copy(*arguments, **named)
shutil.copytree = counted
print(nearby.nearby(Path(sys.argv[1])), nearby.nearby(Path(sys.argv[1])))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "digits" / "raw").mkdir(parents=True)
    for number in range(20):
        (folder / "digits" / "raw" / f"{number}.bin").write_bytes(bytes([number]) * 100_000)
    (folder / "linked").symlink_to(folder / "digits" / "raw" / "3.bin")
    nearby.cache_clear()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_of_many_workers_one_copies_and_all_read_the_copy(data: Path, tmp_path: Path):
    environment = os.environ | {VARIABLE: str(tmp_path / "disk"), "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen([sys.executable, "-c", ASK, str(data)], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [worker.communicate(timeout=100)[0].split() for worker in workers]
    assert sum(words.count("copies") for words in said) == 1
    [copy] = {word for words in said for word in words if word != "copies"}
    assert Path(copy).parent == tmp_path / "disk"
    assert content(Path(copy)) == content(data)
    assert not Path(copy, "linked").is_symlink(), "what it stands for may be far away"


def test_without_a_place_the_folder_itself_is_read(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert nearby(data) == data


def test_other_data_is_another_copy(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    first = nearby(data)
    (data / "digits" / "raw" / "0.bin").write_bytes(b"other")
    nearby.cache_clear()
    second = nearby(data)
    assert first != second
    assert content(second) == content(data)


def test_where_it_cannot_be_copied_it_is_read_where_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "disk").write_text("no folder")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    assert nearby(data) == data
    assert "cannot be copied" in capsys.readouterr().out


def test_a_copy_that_was_cut_off_is_none(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))

    def full(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copytree", full)
        assert nearby(data) == data
    assert [path.name for path in (tmp_path / "disk").iterdir()] == [".lock"]
    nearby.cache_clear()
    assert content(nearby(data)) == content(data)


def test_what_a_killed_worker_has_copied_is_removed_by_the_next(data: Path, tmp_path: Path):
    killed = ASK.replace("return copy(", "copy(*arguments, **named); import os; os.kill(os.getpid(), 9); return copy(")
    environment = os.environ | {VARIABLE: str(tmp_path / "disk"), "PYTHONPATH": str(ROOT)}
    ask = [sys.executable, "-c", killed, str(data)]
    assert subprocess.run(ask, env=environment, capture_output=True, timeout=100).returncode == -9
    left = {path.name for path in (tmp_path / "disk").iterdir()}
    assert len(left) == 2, "the lock, and a copy that nobody finishes"
    whole = subprocess.run([*ask[:2], ASK, str(data)], env=environment, capture_output=True, text=True, timeout=100)
    assert whole.returncode == 0
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {".lock", Path(whole.stdout.split()[-1]).name}
