"""Artifacts of a workload: names, what is kept, and one file of them for machines without an orchestrator."""

from __future__ import annotations

from pathlib import Path

import pytest

from workloads.alone import artifacts


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a//b", "a/./b", ".hidden", "a\nb", "a" * 201, "a/", "ü"])
def test_a_name_that_is_none_for_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="artifact"):
        artifacts.keep(tmp_path, name, "x")
    assert not [*tmp_path.rglob("*")]


def test_texts_bytes_and_files_are_kept_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "made.png").write_bytes(b"\x89PNG")
    artifacts.keep(tmp_path, "plots/loss.png", tmp_path / "made.png")
    artifacts.keep(tmp_path, "note 1.txt", "früher")
    artifacts.keep(tmp_path, "note 1.txt", "später")
    artifacts.keep(tmp_path, "raw.bin", b"\0\1")
    found = {name: path.read_bytes() for name, path in artifacts.kept(tmp_path).items()}
    assert found == {"note 1.txt": "später".encode(), "plots/loss.png": b"\x89PNG", "raw.bin": b"\0\1"}
    artifacts.pack(artifacts.kept(tmp_path), tmp_path / "a.zip")
    artifacts.pack(artifacts.kept(tmp_path), tmp_path / "b.zip")
    assert artifacts.unpack((tmp_path / "a.zip").read_bytes()) == found
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    artifacts.forget(tmp_path)
    assert artifacts.kept(tmp_path) == {}


def test_what_is_no_pack_of_artifacts_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../evil", "x")
    for content in (b"nothing", (tmp_path / "evil.zip").read_bytes()):
        with pytest.raises(ValueError, match="artifact"):
            artifacts.unpack(content)
