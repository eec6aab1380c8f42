"""The MLflow that every store holds: where it is, and the server that shows it on this machine."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from orchestrator.errors import NotFound, SweepError
from orchestrator.store import Store

EMBEDDED = "embedded"
SERVED = "mlflow-ui.json"  # where a `sweep ui` that runs says so
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the writer tries again by itself, and for longer
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def embedded_uri(store: Store) -> str:
    """The MLflow that every store holds: a sqlite file."""
    path = str(store.root / "mlflow.db").replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"


def sqlite_path(uri: str) -> Path | None:
    """The file that a tracking URI means, if it means one."""
    return Path(unquote(uri.removeprefix("sqlite:///"))) if uri.startswith("sqlite:///") else None


def lost_database(uri: str) -> bool:
    """Whether a sqlite file is not there (yet, or any more): then nothing was ever sent to it."""
    path = sqlite_path(uri)
    return path is not None and not path.exists()


def ui(store: Store, port: int = 5000) -> int:
    """Serve the store's MLflow on this machine until interrupted; takes the next free port if `port` is taken.

    Raises:
        NotFound: nothing was tracked in this store.
    """
    if lost_database(embedded_uri(store)):
        raise NotFound(f"{store.root / 'mlflow.db'}: not there yet; `sweep run` makes it")
    port = _free_port(port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", embedded_uri(store)]
    command += ["--artifacts-destination", str(store.root / "mlartifacts"), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = store.root / "mlflow-ui.log"
    with open(log, "ab") as file:
        server = subprocess.Popen(
            [*command, "--workers", "1"], stdout=file, stderr=file, env=environment, start_new_session=True
        )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _serve(server, port, log)
    except KeyboardInterrupt:
        return 0
    finally:
        _end_group(server)


def _serve(server: subprocess.Popen[bytes], port: int, log: Path) -> int:
    while server.poll() is None and not _answers(port):
        time.sleep(0.2)
    if server.poll() is None:
        found = f"http://127.0.0.1:{port}"
        with _announced(log.with_name(SERVED), found):
            print(f"MLflow: {found} (Ctrl-C ends it; its log: {log})", flush=True)
            server.wait()
    print(f"MLflow ended; see {log}", file=sys.stderr)
    return 1


@contextmanager
def _announced(path: Path, found: str) -> Iterator[None]:
    """Keep an address in a file that is locked meanwhile; one that another `sweep ui` holds is left to it."""
    with ExitStack() as stack:
        with suppress(OSError):  # the lock is another's, or the store cannot be written
            file = stack.enter_context(open(path, "a"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "address": found}))
            file.flush()
        yield


def address(store: Store) -> str | None:
    """Where a `sweep ui` of this machine serves the store's MLflow now, if one does."""
    try:
        with open(store.root / SERVED) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                told = json.load(file)
                return told["address"] if told["host"] == socket.gethostname() else None
    except (OSError, ValueError, KeyError, TypeError):  # none ever ran, or it is just being written
        return None
    return None


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port(first: int) -> int:
    for port in range(first, first + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SweepError(f"--port {first}: no free port from {first} to {first + 49}")
