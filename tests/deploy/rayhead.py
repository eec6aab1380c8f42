"""A Ray head with a token on this machine's loopback, as a process of its own, with all its ports its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.servers import free_port, wait_for

REPO = Path(__file__).resolve().parents[2]
PORTS = (
    *("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port"),
    *("ray-client-server-port", "metrics-export-port", "runtime-env-agent-port"),
)


@dataclass
class Head:
    """What runs, and what a user of it sets; `password` is MLflow's, which drivers there have in their environment."""

    folder: Path
    ports: dict[str, int]
    token: str
    password: str
    process: subprocess.Popen[bytes]

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['dashboard-port']}"

    @property
    def gcs(self) -> str:
        return f"127.0.0.1:{self.ports['port']}"

    def environment(self, **more: str) -> dict[str, str]:
        """With a home that has no token of its own."""
        return {**os.environ, **_user(self.folder), "PYTHONPATH": str(REPO), **more}

    def sweep(self, *arguments: object, cwd: Path = REPO, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=self.environment(**more), capture_output=True, text=True, timeout=200
        )

    def answers(self, path: str, token: str | None = None) -> int:
        """The HTTP status of a request to the dashboard."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            asked = urllib.request.Request(self.dashboard + path, headers=headers)
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


@contextmanager
def ray_head(*options: str, path: Path | None = None, token: bool = True) -> Iterator[Head]:
    """Comes up with its job server, and ends with all that it started.

    Args:
        path: A folder of modules that its processes can import.
        token: Whether it asks for one.
    """
    folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))  # short: the paths of sockets may have 107 characters
    secret, password = secrets.token_hex(32), secrets.token_hex(32)
    (folder / "token").write_text(secret)
    (folder / "token").chmod(0o600)
    ports = {name: free_port() for name in PORTS}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}/ray"]
    command += [
        "--num-cpus=2",
        "--object-store-memory=100000000",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with open(folder / "log", "ab") as log:
        asks = {} if token else {"RAY_AUTH_MODE": "disabled"}
        asks["MLFLOW_TRACKING_PASSWORD"] = password
        own = {**_user(folder), **asks, "PATH": search, "PYTHONPATH": str(path or ""), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, *options],
            env={**os.environ, **own},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    made = Head(folder, ports, secret, password, process)
    try:
        wait_for(lambda: made.process.poll() is not None or made.answers("/api/version", secret) == 200)
        assert made.process.poll() is None, (folder / "log").read_text()[-3000:]
        yield made
    finally:
        _end(made)
        shutil.rmtree(folder, ignore_errors=True)


def _user(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}


def _end(head: Head) -> None:
    """SIGTERM lets Ray end what it started; what is left of that is ended by its number."""
    left = head.processes() if head.process.poll() is None else []
    head.process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(left, timeout=20)
    for process in alive:
        process.kill()
    head.process.wait()
