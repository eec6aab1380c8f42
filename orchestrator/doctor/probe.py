"""What a machine says of itself; travels to nodes that may have other code, so it needs the standard library alone.

But for a store in a bucket: that is asked as a worker there would ask it, with the code and the credentials there.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "numpy")
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"


def describe(store: str | None, token: str | None, data: str | None = None) -> dict[str, Any]:
    """Versions, the code that is imported here, the mode of Ray's tokens, and how `store` and `data` look from here.

    Args:
        store: A folder, a bucket, or None.
        token: The name of a file that whoever asks has just written into the folder.
        data: A folder, or None.
    """
    versions = {name: _version(name) for name in PACKAGES}
    said = {
        "python": platform.python_version(),
        **versions,
        "code": code(),
        "token": os.environ.get("RAY_AUTH_MODE", ""),
    }
    found: dict[str, Any] = {"host": socket.gethostname(), "versions": said, "sees": None, "writes": None}
    found["cards"] = 0 if has_driver() else count_cards(PCI)
    found["temporary"], found["free"] = _temporary()
    found["data"] = None if data is None else Path(data).is_dir()
    found["bucket"] = _unreached(store) if store is not None and "://" in store else ""
    if store is not None and token is not None:
        found["sees"] = (Path(store) / token).is_file()
        found["writes"] = os.access(store, os.W_OK)
    return found


def has_driver() -> bool:
    """Whether NVIDIA's driver is there."""
    return Path("/proc/driver/nvidia/version").exists() or bool(shutil.which("nvidia-smi"))


def count_cards(devices: Path) -> int:
    """How many display controllers by NVIDIA stand in a folder of PCI devices."""
    found = 0
    for device in devices.glob("*"):
        with suppress(OSError):
            maker, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            found += maker == NVIDIA and kind.startswith(DISPLAY)
    return found


def _temporary() -> tuple[str, int]:
    """Where Ray writes its logs and what does not fit into memory, and how many bytes are free there."""
    folder = os.environ.get("RAY_TMPDIR") or "/tmp"
    return folder, shutil.disk_usage(folder if os.path.isdir(folder) else "/").free


def _unreached(uri: str) -> str:
    """Why a store in a bucket cannot be used from here; empty where it can."""
    try:
        from orchestrator.storage.bucket import Bucket

        Bucket.at(uri).holds("store.json")
    except Exception as error:  # of many kinds, an older version of ours among them
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ""


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
