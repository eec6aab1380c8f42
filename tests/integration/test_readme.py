"""The README tells the truth: links lead somewhere, make targets exist, sweep commands run in their order."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("**/*.md"),
        *(ROOT / "deploy").glob("**/*.md"),
        *(ROOT / "sweeps").glob("**/*.md"),
    ]
)
SHORTER = ["--scale", "smoke"]  # the quickstart as printed takes a minute


def commands(first: str) -> list[list[str]]:
    """The README's `sh` blocks, as argument lists, of the commands that begin with `first`."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and line[0] == first]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert not [target for target in targets if target and not (page.parent / target).exists()]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_targets_exist() -> None:
    targets = {line[1] for line in commands("make")}
    assert {"quickstart", "test"} <= targets
    for target in targets:
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0, target


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.timeout(400)
def test_sweep_commands_run(tmp_path: Path) -> None:
    """In one empty folder, in order. Commands that serve until stopped are not run."""
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    name = "quickstart"
    for words in commands("sweep"):
        if words[1] == "ui" or "--address" in words or "desk" in words:
            continue
        arguments = [name if word == "quickstart" else word for word in words[1:]]
        if "sweeps/quickstart.yaml" in arguments:
            arguments += SHORTER
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        accepted = {0, 1} if words[1] == "claims" else {0}  # a refuted claim is an answer, not an error
        assert done.returncode in accepted, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if words[1] == "run":
            name = next((tmp_path / "runs" / "records").iterdir()).name  # that of the shorter one
