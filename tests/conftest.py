"""What every test runs under: no network but this machine, no settings of the user's, real data where it is at hand."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
RESTORE = ROOT.parent / "shared" / "tools" / "restore_data.py"
UNSET = (
    "SWEEP_DATA",
    "RAY_ADDRESS",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
    "PYTHONDONTWRITEBYTECODE",
)
SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0"}
# Two threads of torch on a busy machine wait for each other for seconds.
SILENT["OMP_NUM_THREADS"] = "1"

_data_skips: list[str] = []
_ray_folder: Path | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before ray or mlflow is imported, here and in every process that a test starts."""
    global _ray_folder
    for name in UNSET:
        os.environ.pop(name, None)
    os.environ.update(SILENT)
    # Ray puts Unix sockets below it, whose paths may have 107 characters: the system's own folder can be too long.
    _ray_folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    os.environ["RAY_TMPDIR"] = str(_ray_folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _ray_folder is not None:
        shutil.rmtree(_ray_folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say aloud what was not tested for want of data."""
    if _data_skips:
        terminalreporter.section("REAL DATA IS MISSING", red=True, bold=True)
        terminalreporter.line("The tests that need CIFAR-10 or MNIST were skipped: " + _data_skips[0])


def _own_addresses() -> frozenset[str]:
    """The addresses of this machine's interfaces: Ray's processes find each other by one of them."""
    found = {address.address.split("%")[0] for group in psutil.net_if_addrs().values() for address in group}
    return frozenset(found | {"localhost", "0.0.0.0", "::", socket.gethostname()})


OWN = _own_addresses()


def _refuse(own_socket: socket.socket, address: Any) -> None:
    # Connecting a datagram socket sends nothing; it is how a program asks for its own address.
    if own_socket.family == socket.AF_UNIX or own_socket.type & socket.SOCK_DGRAM:
        return
    host = str(address[0])
    if not (host in OWN or host.startswith("127.") or host == "::1"):
        raise RuntimeError(f"a test tried to reach {host}:{address[1]}; tests may reach this machine only")


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection that would leave this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked(own_socket: socket.socket, address: Any) -> None:
        _refuse(own_socket, address)
        connect(own_socket, address)

    def checked_ex(own_socket: socket.socket, address: Any) -> int:
        _refuse(own_socket, address)
        return connect_ex(own_socket, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked)
        patch.setattr(socket.socket, "connect_ex", checked_ex)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """A folder with the real CIFAR-10 and MNIST, unpacked once per user; skips, loudly, where they are not at hand."""
    if not RESTORE.is_file():
        _data_skips.append("there is no ../shared/tools/restore_data.py beside this checkout")
        pytest.skip(f"REAL DATA IS MISSING: {_data_skips[-1]}")
    folder = Path(tempfile.gettempdir()) / f"sweep-data-{getpass.getuser()}"
    if not folder.is_dir():
        making = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
        subprocess.run([sys.executable, str(RESTORE), str(making)], check=True, stdout=subprocess.DEVNULL)
        if folder.is_dir():  # another test run was faster
            shutil.rmtree(making)
        else:
            making.rename(folder)
    return folder
