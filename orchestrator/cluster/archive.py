"""What is sent of a sweep: one zip whose name is its SHA-256, with the code as it is now, the specs and what to run.

    orchestrator/ workloads/    the Python files of the two packages, as they are imported here
    <package>/ <module>.py      a user's own workloads, and what of their folder these import
    specs/<n>/                  spec.yaml whole, whatever it extends; the published values it names
    request.json                the arguments of `sweep run`
    provenance.json             where the code comes from; says nothing of what it does

Nothing else: no data, no results, no hidden file, no setting of this machine. Equal content is an equal zip.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cluster.submitted import REQUEST
from orchestrator.running.provenance import PROVENANCE, provenance
from orchestrator.sweepfile.saving import saved_files
from workloads.contract import load_workload

if TYPE_CHECKING:
    from orchestrator.plan import Plan

OWN = ("orchestrator", "workloads")
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the time of every file in the zip: when it was changed is not its content
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Archive:
    """The files to send, by their paths in the zip."""

    files: Mapping[str, bytes]

    @cached_property
    def content(self) -> bytes:
        """The zip."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
            for name in sorted(self.files):
                entry = zipfile.ZipInfo(name, EARLIEST)
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                made.writestr(entry, self.files[name])
        return buffer.getvalue()

    @property
    def name(self) -> str:
        return f"sweep-{hashlib.sha256(self.content).hexdigest()}.zip"

    @cached_property
    def identity(self) -> str:
        """Equal for what does the same: a commit that changes none of the files is no other sweep."""
        parts = [
            (name, hashlib.sha256(self.files[name]).hexdigest()) for name in sorted(self.files) if name != PROVENANCE
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def archive(plans: Sequence[Plan], options: Sequence[str], command: str = "run") -> Archive:
    """The archive of sweeps that are to be run one after the other with these options of `sweep run`.

    Args:
        command: Another one; without plans it is the options' own.
    """
    files = {name: path.read_bytes() for name, path in _code(plans)}
    specs = [f"specs/{place}" for place in range(1, len(plans) + 1)]
    for folder, plan in zip(specs, plans, strict=True):
        files |= {f"{folder}/{name}": content for name, content in saved_files(plan.spec).items()}
    arguments = [command, *(f"{folder}/spec.yaml" for folder in specs), *options]
    files[REQUEST] = json.dumps({"arguments": arguments}, indent=1).encode()
    files[PROVENANCE] = json.dumps(provenance(), sort_keys=True).encode()
    return Archive(files)


def _code(plans: Sequence[Plan]) -> Iterator[tuple[str, Path]]:
    for package in OWN:
        yield from _python_files(ROOT, package)
    for module in sorted({node.workload for plan in plans for node in plan.nodes.values()}):
        file = _source(load_workload(module).module)
        if file is not None:
            yield from _users(*file)


def _source(module: str) -> tuple[Path, str] | None:
    """The folder from which a module is imported and its first name in it; None for ours, and for what is installed.

    What is installed here must be installed there: it is not sent.
    """
    first, *below = module.split(".")
    path = Path(sys.modules[module].__file__ or "").resolve()
    folder = path.parents[len(below) + (path.name == "__init__.py")]
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")}
    return None if first in OWN or folder in installed else (folder, first)


def _users(folder: Path, first: str) -> Iterator[tuple[str, Path]]:
    """The Python files of a package or module in `folder`, and of those beside it that they import, and so on."""
    left, seen = [first], {*OWN}
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            found = [*_python_files(folder, name)]
            yield from found
            left += {word for _, path in found for word in _imported(path)} - seen


def _python_files(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """`name.py`, or all Python files of the package `name`, with their paths below `folder`."""
    found: Iterable[Path] = [folder / f"{name}.py"]
    if (folder / name).is_dir():
        found = sorted((folder / name).rglob("*.py"))
    for path in found:
        short = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in short.parts):
            yield short.as_posix(), path


def _imported(path: Path) -> set[str]:
    """The first names of the modules that a file imports."""
    names: set[str] = set()
    try:
        parsed = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template, or another Python's: what runs here has been imported here
        return names
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names
