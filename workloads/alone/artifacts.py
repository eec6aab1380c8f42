"""Artifacts: named files that a workload keeps with its node. They wait in the node's work folder until it is done."""

from __future__ import annotations

import io
import os
import re
import shutil
import uuid
import zipfile
from pathlib import Path

FOLDER = "artifacts"
MAX_NAME = 200
_NAME = re.compile(r"[\w\-][\w.\- ]*(/[\w\-][\w.\- ]*)*", re.ASCII)


def checked(name: str) -> str:
    """The name, if it is one for a file below a folder.

    Raises:
        ValueError: it is not.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ValueError(
            f"artifact {name!r}: a name has letters, digits and ._- and may have folders (plots/loss.png), "
            f"{MAX_NAME} characters at most"
        )
    return name


def keep(work: Path, name: str, content: bytes | str | Path) -> None:
    """Put a text, bytes or a copy of a file into a node's work folder, in place of one of that name.

    Raises:
        ValueError: the name is none for a file.
        OSError: it cannot be written, or the file to copy cannot be read.
    """
    target = work / FOLDER / checked(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex[:8]}")
    try:
        if isinstance(content, Path):
            shutil.copyfile(content, temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def kept(work: Path) -> dict[str, Path]:
    """The artifacts in a node's work folder by name."""
    folder = work / FOLDER
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if _NAME.fullmatch(name)}


def forget(work: Path) -> None:
    """Of an attempt that begins afresh."""
    shutil.rmtree(work / FOLDER, ignore_errors=True)


def pack(found: dict[str, Path], path: Path) -> None:
    """Write artifacts as one file, the same for the same content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(found):
            file.writestr(zipfile.ZipInfo(name), found[name].read_bytes(), zipfile.ZIP_DEFLATED)


def unpack(content: bytes) -> dict[str, bytes]:
    """The artifacts of a packed file by name.

    Raises:
        ValueError: it is none.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return {checked(name): file.read(name) for name in file.namelist()}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ValueError(f"artifacts: {error}") from error
