"""MLflow, and nothing else that knows it: the driver's tracker, the process that writes, `sweep sync` and `sweep ui`.

The tracker turns events into lines of a spool file and never waits. A process of its own reads the spool and is the one
writer to MLflow, so a slow or dead MLflow costs the driver nothing. What is sent may be sent again: runs are found by
their key, and MLflow keeps a metric point or a tag that it is told twice once.

    python -m orchestrator.tracking --spool FOLDER --take TARGET --uri URI --ledger FILE [--once]
"""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import NotFound, SweepError
from orchestrator.events import Event
from orchestrator.plan import Plan
from orchestrator.provenance import provenance
from orchestrator.runs import Runs
from orchestrator.spool import CLOSE, Ledger, Operation, Spool, SpoolFile, spool_files, spool_targets
from orchestrator.store import Outcome, Store

EMBEDDED = "embedded"
PACKAGES = ("torch", "ray", "mlflow", "numpy")
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the writer tries again by itself, and for longer
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def embedded_uri(store: Store) -> str:
    """The MLflow that every store holds: a sqlite file."""
    return f"sqlite:///{store.root / 'mlflow.db'}"


def _target(store: Store, uri: str | None) -> str:
    """A short name for a tracking URI in file names.

    Raises:
        SweepError: it holds a password, which would show in process lists and files.
    """
    if uri is None or uri == embedded_uri(store):
        return EMBEDDED
    if urlsplit(uri).scheme.startswith("http") and urlsplit(uri).password is not None:
        raise SweepError(
            "--tracking-uri: holds a password; give it as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return hashlib.sha256(uri.encode()).hexdigest()[:8]


def _ledger(store: Store, name: str, target: str) -> Path:
    return store.sweep_folder(name) / "tracking" / f"{target}.jsonl"


def lost_database(uri: str) -> bool:
    """Whether a sqlite file is not there (yet, or any more): then nothing was ever sent to it."""
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def _start_writer(
    store: Store, name: str, take: str, uri: str, ledger: Path, *options: str
) -> subprocess.Popen[bytes]:
    """The process that sends the spool of one sweep; its output goes to a log beside the ledger."""
    command = [sys.executable, "-m", "orchestrator.tracking", "--spool", str(store.spool / name), "--take", take]
    command += ["--uri", uri, "--ledger", str(ledger), *options]
    ledger.parent.mkdir(parents=True, exist_ok=True)
    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with open(ledger.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the driver, which then says what was cut off
            env={**os.environ, "PYTHONPATH": path, **ENVIRONMENT},
        )


class Tracker:
    """An observer that shows a sweep in MLflow. Never raises and never waits, but for `close`.

    Args:
        done: The outcomes that the store had when the sweep began.
        tracking_uri: An MLflow server; None for the sqlite in the store.

    Raises:
        SweepError: the URI holds a password.
    """

    def __init__(self, plan: Plan, store: Store, done: Mapping[str, Outcome], tracking_uri: str | None = None) -> None:
        self._store, self._name = store, plan.spec.record_name
        self._uri = tracking_uri or embedded_uri(store)
        self._target = _target(store, tracking_uri)
        self._ledger = _ledger(store, self._name, self._target)
        recorded = {} if lost_database(self._uri) else Ledger.read(self._ledger).ended
        self._spool: Spool | None = None
        self._writer: subprocess.Popen[bytes] | None = None
        self._runs = Runs(plan, done, recorded, *_tags(store), time.time())
        if self._runs.complete:
            return
        try:
            self._spool = Spool(store.spool / self._name, self._target)
            self._start()
        except OSError as error:
            print(f"MLflow gets nothing of this run: {error}", file=sys.stderr)
            return
        self._spool.append([{"op": "open", "experiment": self._name, "uri": tracking_uri}])
        self._spool.append(self._runs.begin())

    def _start(self) -> None:
        self._writer = _start_writer(self._store, self._name, self._target, self._uri, self._ledger)

    @property
    def log(self) -> Path:
        """Where the writer's messages go."""
        return self._ledger.with_suffix(".log")

    def __call__(self, event: Event) -> None:
        if self._spool is not None:
            self._spool.append(self._runs.take(event))

    def close(self, timeout: float = 30.0) -> int:
        """Say that nothing more comes and wait until all is sent, or nothing was for `timeout` seconds.

        Returns:
            How many operations are left in the spool for `sweep sync`.
        """
        spool, self._spool = self._spool, None
        if spool is None:
            return 0
        spool.append([*self._runs.end(time.time()), CLOSE])
        spool.release()
        file = SpoolFile(spool.path)
        self._wait(file, timeout)
        if not file.path.exists():
            return 0
        offset = Ledger.read(self._ledger).offsets.get(file.path.name, 0)
        return sum(1 for item in file.all(offset) if item != CLOSE)

    def _wait(self, file: SpoolFile, timeout: float) -> None:
        seen, since, again = -1, time.monotonic(), True
        while file.path.exists() and time.monotonic() - since < timeout:
            size = self._ledger.stat().st_size if self._ledger.exists() else 0
            if size != seen:
                seen, since = size, time.monotonic()
            if self._writer is not None and self._writer.poll() is not None and again:
                again = False  # it was killed; a second one that ends is a fault to be seen in its log
                self._start()
            time.sleep(0.02)
        if self._writer is not None:
            if file.path.exists():
                self._writer.terminate()
            self._writer.wait(timeout=10)


def _tags(store: Store) -> tuple[dict[str, str], dict[str, str]]:
    """What every run carries, and what only the one above them does."""
    source = provenance()
    everywhere = {"sweep.store": str(store.root)}
    if source["commit"]:
        everywhere["mlflow.source.git.commit"] = str(source["commit"])
    above = {"sweep.dirty": str(bool(source["dirty"])).lower(), "sweep.host": socket.gethostname()}
    above["version.python"] = platform.python_version()
    for package in PACKAGES:
        try:
            above[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return everywhere, above


def sync(store: Store, tracking_uri: str | None = None) -> int:
    """Send what drivers left in the spool, to where they meant it or to `tracking_uri`; 1 if some is left.

    Raises:
        SweepError: the URI holds a password.
    """
    left = total = 0
    for folder in sorted(path for path in store.spool.glob("*") if path.is_dir()):
        for take in spool_targets(folder):
            waiting = spool_files(folder, take)
            uri = tracking_uri or _meant_for(waiting[0]) or embedded_uri(store)
            ledger = _ledger(store, folder.name, _target(store, uri))
            _start_writer(store, folder.name, take, uri, ledger, "--once").wait()
            running = sum(not file.abandoned() for file in waiting if file.path.exists())
            remaining = sum(file.path.exists() for file in waiting) - running
            left, total = left + remaining, total + len(waiting)
            told = f"; see {ledger.with_suffix('.log')}" if remaining else ""
            print(f"{folder.name}: {len(waiting) - remaining - running} of {len(waiting)} files sent", end="")
            print(f", {running} of a sweep that is running{told}" if running else told)
    if not total:
        print("MLflow has everything")
    return 1 if left else 0


def _meant_for(file: SpoolFile) -> str | None:
    first: Operation = next(file.all(), {})
    return first.get("uri")


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
        print(f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it; its log: {log})", flush=True)
        server.wait()
    print(f"MLflow ended; see {log}", file=sys.stderr)
    return 1


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
