"""Wrong sweep files: each is refused with exactly what tests/golden/wrong_sweeps/messages.json says of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.golden.wrong import FILES, FOLDER, MESSAGES, options, said

EXPECTED = json.loads(MESSAGES.read_text(encoding="utf-8"))
COMMAND_LINE = (
    "bomb-billion-laughs.yaml",
    "cycle-of-two.yaml",
    "extends-circle.yaml",
    "over-training.yaml",
    "scale-wrong-value.yaml",
    "set-unknown-path.yaml",
    "stop-epochs-negative.yaml",
    "top-many-mistakes.yaml",
    "top-name-path-traversal.yaml",
    "trials-billion.yaml",
    "yaml-not-utf8.yaml",
)


def test_every_file_has_its_message() -> None:
    assert [*EXPECTED] == FILES
    assert len(FILES) >= 150


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_refused_with_these_words(name: str) -> None:
    told = said(name)
    assert told == EXPECTED[name], "if this change is meant: python tests/golden/wrong.py"
    assert told
    assert len({*told}) == len(told)
    for line in told:  # FILE:LINE:COLUMN: FIELD: what is wrong; of --set, its path
        assert re.match(r"[^:\s]+\.yaml:[1-9][0-9]*:[1-9][0-9]*: \S|--set", line), line


@pytest.mark.parametrize("name", COMMAND_LINE)
def test_the_command_refuses_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FOLDER, tmp_path / "sweeps")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code = main(["run", f"sweeps/{name}", *options(name)])
    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert told.err.replace("sweeps/", "").splitlines() == EXPECTED[name]
    assert sorted(tmp_path.rglob("*")) == before
