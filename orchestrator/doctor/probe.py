"""What a machine says of itself; travels to nodes that may have other code, so it needs the standard library alone."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "numpy")


def describe(store: str | None, token: str | None) -> dict[str, Any]:
    """Versions, the code that is imported here, the mode of Ray's tokens, and how `store` looks from here.

    Args:
        store: A folder, or None.
        token: The name of a file that whoever asks has just written there.
    """
    versions = {name: _version(name) for name in PACKAGES}
    said = {
        "python": platform.python_version(),
        **versions,
        "code": code(),
        "token": os.environ.get("RAY_AUTH_MODE", ""),
    }
    found: dict[str, Any] = {"host": socket.gethostname(), "versions": said, "sees": None, "writes": None, "free": None}
    if store is not None and token is not None:
        folder = Path(store)
        found["sees"] = (folder / token).is_file()
        found["writes"] = os.access(folder, os.W_OK)
        found["free"] = shutil.disk_usage(folder).free if folder.is_dir() else None
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def code() -> str:
    """Sixteen hex digits of the Python files of our two packages, as this process would import them."""
    digest = hashlib.sha256()
    for package in ("orchestrator", "workloads"):
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
