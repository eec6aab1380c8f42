"""Real servers for the tests of tracking: MLflow's, PostgreSQL's, and a proxy that can be told to fail."""

from __future__ import annotations

import hashlib
import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from orchestrator.to_mlflow.server import ENVIRONMENT, sqlite_path

PASSWORD = "correct-horse-battery"  # of the database, and of MLflow's administrator
CLOCKED = ("log.txt", "run.log", "report/index.html")  # artifacts that say when things happened
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def wait_for(condition: Callable[[], bool], seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class MlflowServer:
    """`mlflow server` on this machine. Its output goes to a file in `folder`."""

    folder: Path
    backend: str
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    artifacts: str = ""  # where it keeps them, if not in `folder`

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.backend, *self.options]
        command += ["--artifacts-destination", self.artifacts or str(self.folder / "artifacts"), "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        environment = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **self.environment}
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        wait_for(self._is_healthy)

    def _is_healthy(self) -> bool:
        assert self._process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        """To the server and the processes it started."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self.kill()


class Proxy:
    """Passes requests on to a server, or answers them with a status of its own."""

    def __init__(self, port: int) -> None:
        self.status: int | None = None
        self.answered: dict[int, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(port))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self, port: int) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, content = proxy.status, b"not today"
                headers: dict[str, str] = {}
                if status is None:
                    try:
                        status, headers, content = self._ask(body)
                    except OSError:
                        status, content = 502, b"bad gateway"
                proxy.answered[status] = proxy.answered.get(status, 0) + 1
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    passed = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                    connection.request(self.command, self.path, body, passed)
                    answer = connection.getresponse()
                    kind = {"Content-Type": answer.getheader("Content-Type") or "text/plain"}
                    return answer.status, kind, answer.read()
                finally:
                    connection.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        return Handler


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of this machine's packages with an empty database; its URI, without the password.

    It refuses to run as root: then it runs as `postgres`, whom the package made.
    """
    binaries = POSTGRES[-1]
    folder = Path(tempfile.mkdtemp(prefix="sweep-postgres-"))  # pytest's own folders let no other user in
    as_user: list[str] = []
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        shutil.chown(folder, account.pw_uid, account.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    data, port, secret = folder / "data", free_port(), folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    run = [*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "mlflow", "--auth=scram-sha-256"]
    subprocess.run([*run, f"--pwfile={secret}", "-N"], check=True, capture_output=True, cwd="/")
    secret.unlink()
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
    control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log")]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
    try:
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
        shutil.rmtree(folder)


def content(uri: str, experiment: str) -> dict[str, dict[str, Any]]:
    """All that an MLflow has of an experiment, by our keys, without times and with keys for run ids."""
    from mlflow import MlflowClient

    if path := sqlite_path(uri):  # MLflow keeps the files open that it has read, also when they are removed
        copy = Path(tempfile.mkdtemp(prefix="content-", dir=path.parent)) / path.name
        for part in path.parent.glob(f"{path.name}*"):
            shutil.copy(part, copy.with_name(part.name))
        uri = f"sqlite:///{copy}"
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = list(client.search_runs([found.experiment_id], max_results=5000))
    keys = {run.info.run_id: run.data.tags["sweep.key"] for run in runs}
    assert len(set(keys.values())) == len(runs), "a run was made twice"
    parents = {key for key in keys.values() if key.startswith("sweep-run-")}
    return {
        "above" if keys[run.info.run_id] in parents else keys[run.info.run_id]: {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "tags": _plain(run.data.tags, keys),
            "metrics": {name: _points(client, run.info.run_id, name) for name in run.data.metrics},
            "data": sorted(
                (item.dataset.name, item.dataset.digest) for item in (run.inputs and run.inputs.dataset_inputs) or []
            ),
            "artifacts": sorted(_artifacts(client, run.info.run_id)),
            "files": _digests(client, run.info.run_id),
        }
        for run in runs
    }


def differences(found: Mapping[str, Any], expected: Mapping[str, Any], path: str = "") -> list[str]:
    """Where two contents differ, in words."""
    lines = []
    for name in sorted({*found, *expected}):
        here = f"{path}/{name}"
        if name not in found or name not in expected:
            lines.append(f"{here}: {'too much' if name in found else 'missing'}")
        elif isinstance(found[name], dict):
            lines += differences(found[name], expected[name], here)
        elif found[name] != expected[name]:
            lines.append(f"{here}: {found[name]!r} instead of {expected[name]!r}")
    return lines


def _points(client: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))


def _artifacts(client: Any, run_id: str, path: str | None = None) -> Iterator[str]:
    for item in client.list_artifacts(run_id, path):
        if item.is_dir:
            yield from _artifacts(client, run_id, item.path)
        else:
            yield item.path


def _digests(client: Any, run_id: str) -> dict[str, str]:
    """What identifies the content of each artifact in which no clock was read."""
    with tempfile.TemporaryDirectory(prefix="artifacts-") as folder:
        place = Path(client.download_artifacts(run_id, "", folder))
        files = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name not in CLOCKED
        }


def _plain(tags: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, str]:
    """The tags without what differs between two sweeps of the same file."""
    left_out = {"sweep.store", "sweep.host", "mlflow.parentRunId", "mlflow.note.content"}
    plain = {name: text for name, text in tags.items() if name not in left_out}
    for name in plain.keys() & {"shared.runs", "used_by.runs"}:
        plain[name] = ", ".join(sorted(keys[run_id] for run_id in plain[name].split(", ")))
    if plain["sweep.key"].startswith("sweep-run-"):
        plain["sweep.key"] = "above"
    return plain
