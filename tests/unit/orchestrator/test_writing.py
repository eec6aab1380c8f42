"""What cannot be written says so in one sentence, whichever library found out."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.storage import writing
from orchestrator.storage.writing import NotWritable, write_atomically
from orchestrator.store import Outcome, Store


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left on device (12.0 MB free there); free space, and the same"),
        (OSError(errno.EDQUOT, "quota"), "; free space, and the same command goes on"),
        (
            OSError(errno.EFBIG, "large"),
            "raise the limit on the size of files (ulimit -f), and the same command goes on",
        ),
        (OSError(errno.EROFS, "closed"), "Read-only file system; make it writable, and the same command goes on"),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            "; free space, and the same command goes on",
        ),
    ],
)
def test_reasons_become_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str):
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 12 * 2**20})())
    with pytest.raises(NotWritable) as caught, writing.writing(tmp_path / "not there" / "file"):
        raise error
    assert str(caught.value).startswith(f"{tmp_path / 'not there' / 'file'}: cannot be written: ")
    assert says in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "gone"), ValueError("no"), KeyError("28")])
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception):
    with pytest.raises(type(error)) as caught, writing.writing(tmp_path):
        raise error
    assert caught.value is error


def test_half_a_file_is_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    write_atomically(path, "before")
    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(NotWritable):
        write_atomically(path, "after")
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_system_that_cannot_sync_folders_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(writing.os, "fsync", sync)
    write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_a_machine_that_loses_its_power_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A name is on the disk once its folder is: of rows, of a node, of what lies in a folder of a node's."""
    synced: list[str] = []

    def sync(handle: int, real: Callable[[int], None] = os.fsync) -> None:
        real(handle)
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))

    monkeypatch.setattr(writing.os, "fsync", sync)
    store = Store(tmp_path)
    values = {"workload": "toy", "status": "done", "metrics": {}, "config": {}, "seed": 0, "start": None, "meta": {}}
    outcome = Outcome(key="ab12", seconds=1.0, files={}, **values)  # pyright: ignore[reportArgumentType]
    store.commit_rows([outcome])
    assert synced[-1] == str(store.rows_folder)
    synced.clear()
    (tmp_path / "nodes" / "ab").mkdir()

    def write(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")

    store.commit_folder(outcome, {"artifacts/plot.svg": write})
    names = [Path(place).relative_to(tmp_path).as_posix() for place in synced]
    before, after = names[:-2], names[-2:]
    assert after == ["nodes/ab", "nodes"], "the last of all, when the node has its name"
    assert any(name.endswith("/artifacts") for name in before)
    assert any(name.endswith("/artifacts/plot.svg") for name in before)
