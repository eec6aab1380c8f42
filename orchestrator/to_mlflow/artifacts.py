"""The artifacts of a run: files of the store, texts, and plots of curves, put where an MLflow shows them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.to_mlflow.curveplot import plot
from orchestrator.to_mlflow.spool import Operation


def contents(operation: Operation) -> Iterator[tuple[str, Path | str]]:
    """Every artifact by name: a file, or a text. A file that is gone from the store since is left out."""
    for name, path in operation.get("files", {}).items():
        if Path(path).is_file():
            yield name, Path(path)
    yield from operation.get("texts", {}).items()
    for stage, path in operation.get("curves", {}).items():
        if Path(path).is_file():
            yield f"curves/{stage}.svg", plot(stage, Path(path))


def place(folder: Path, operation: Operation) -> None:
    """Put the artifacts into a folder of the store's disk; files are linked, which costs no space and no time."""
    for name, content in contents(operation):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            target.write_text(content, encoding="utf-8")
        else:
            _link(content, target)


def _link(path: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        if target.samefile(path):
            return
        target.unlink()
    try:
        os.link(path, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(path, target)
