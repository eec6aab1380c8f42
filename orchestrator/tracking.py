"""A sweep shown in MLflow: the driver's tracker, `sweep sync`, and `sweep sync --rebuild`.

The tracker turns events into lines of a spool file and never waits. A process of its own (writer.py) reads the spool
and is the one writer to MLflow, so a slow or dead MLflow costs the driver nothing. What is sent may be sent again: runs
are found by their key, and a metric point or a tag that is told twice is there once.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from orchestrator.commands.request import sweep_names
from orchestrator.errors import SweepError
from orchestrator.plan import Plan
from orchestrator.running.events import Event
from orchestrator.store import Outcome, Store
from orchestrator.to_mlflow import writer
from orchestrator.to_mlflow.description import Descriptions
from orchestrator.to_mlflow.naming import milliseconds, provenance_tags
from orchestrator.to_mlflow.operations import Runs
from orchestrator.to_mlflow.rebuild import RUNS, Notes, made_late, spool_again
from orchestrator.to_mlflow.server import EMBEDDED, address, embedded_uri, lost_database, sqlite_path
from orchestrator.to_mlflow.spool import Exhibited, Ledger, Operation, Spool, SpoolFile, spool_files, spool_targets

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
NO_ADDRESS = "no address of an MLflow; allowed: http://HOST:PORT, https://HOST, postgresql://HOST/NAME, sqlite:////FILE"
WAIT = float(os.environ.get("SWEEP_TRACKING_WAIT", "30"))  # seconds a driver waits at its end for an MLflow that fails


def target(store: Store, uri: str | None) -> str:
    """A short name for a tracking URI in file names.

    Raises:
        SweepError: it is the address of no MLflow, or holds a password, which would show in process lists and files.
    """
    if uri is None or uri == embedded_uri(store):
        return EMBEDDED
    try:
        parts = urlsplit(uri)
        known = parts.scheme.partition("+")[0] in SCHEMES and _says_where(uri, parts)
    except ValueError:  # brackets or a port that are none
        raise SweepError(f"--tracking-uri: {NO_ADDRESS}") from None
    web = parts.scheme.startswith("http")
    # What stands before the host of a web address alone may be a token.
    if parts.password is not None or (web and parts.username is not None) or "password" in parse_qs(parts.query):
        how = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if web else "PGPASSWORD, or a ~/.pgpass"
        raise SweepError(f"--tracking-uri: holds a password; give it in the environment as {how}")
    if not known and uri.partition(":")[0] != "databricks":
        shown = "" if "@" in uri else f" {uri}"  # before that may be a password
        raise SweepError(f"--tracking-uri{shown}: {NO_ADDRESS}")
    return hashlib.sha256(uri.encode()).hexdigest()[:8]


def _says_where(uri: str, parts: SplitResult) -> bool:
    """Whether a web address has a host and a port that is one, or that of a sqlite a file. Raises ValueError."""
    if parts.scheme.startswith("http"):
        return bool(parts.hostname) and parts.port != 0
    return parts.scheme != "sqlite" or sqlite_path(uri) is not None


def _ledger(store: Store, name: str, target: str) -> Path:
    return store.sweep_folder(name) / "tracking" / f"{target}.jsonl"


class Tracker:
    """An observer that shows a sweep in MLflow. Never raises and never waits, but for `close`.

    Args:
        done: The outcomes that the store had when the sweep began.
        data_dir: Where data sets lie whose fingerprint is that of a file.
        tracking_uri: An MLflow server; None for the sqlite in the store.

    Raises:
        SweepError: the URI holds a password.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        done: Mapping[str, Outcome],
        data_dir: Path,
        tracking_uri: str | None = None,
    ) -> None:
        self._store, self._name = store, plan.spec.record_name
        self._uri = tracking_uri or embedded_uri(store)
        self._target = target(store, tracking_uri)
        self._ledger = _ledger(store, self._name, self._target)
        recorded = {} if lost_database(self._uri) else Ledger.read(self._ledger).ended
        self._spool: Spool | None = None
        self._writer: subprocess.Popen[bytes] | None = None
        now = time.time()
        parent = f"sweep-run-{milliseconds(now)}-{os.getpid()}"
        describe = Descriptions(plan, provenance_tags(store.uri), data_dir, parent)
        self._runs = Runs(describe, store, done, recorded, now)
        self._notes = Notes(store.sweep_folder(self._name) / RUNS, parent, tracking_uri)
        if self._runs.complete:
            return
        try:
            self._spool = Spool(store.spool / self._name, self._target)
            self._start()
        except OSError as error:
            print(f"MLflow gets nothing of this run: {error}", file=sys.stderr)
            return
        self._spool.append([{"op": "open", "experiment": self._name, "uri": tracking_uri}])
        self._tell(self._spool, self._runs.begin())

    def _start(self) -> None:
        self._writer = writer.start(self._store.spool / self._name, self._target, self._uri, self._ledger)

    @property
    def log(self) -> Path:
        """Where the writer's messages go."""
        return self._ledger.with_suffix(".log")

    def __call__(self, event: Event) -> None:
        if self._spool is not None:
            self._tell(self._spool, self._runs.take(event))

    def _tell(self, spool: Spool, operations: Iterable[Operation]) -> None:
        spool.append(self._notes.take(operations))

    @property
    def page(self) -> str:
        """Where the sweep's experiment is shown: a page if a server of it is known, else the URI; "" for `sweep ui`."""
        embedded = self._uri == embedded_uri(self._store)
        server = address(self._store) if embedded else self._uri
        if server is None or not server.startswith(("http://", "https://")):
            return server or ""
        experiment = Ledger.read(self._ledger).experiment
        return f"{server.rstrip('/')}/#/experiments/{experiment}/runs" if experiment else server

    def close(self, timeout: float = WAIT, exhibits: Exhibited | None = None) -> int:
        """Say that nothing more comes and wait until all is sent, or nothing was for `timeout` seconds.

        Args:
            exhibits: Called if there is anything to show; the writer sends the rest meanwhile.

        Returns:
            How many operations are left in the spool for `sweep sync`.
        """
        spool, self._spool = self._spool, None
        if spool is None:
            return 0
        for operation in self._runs.end(time.time(), exhibits):
            self._tell(spool, [operation])
        spool.release()
        file = SpoolFile(spool.path)
        self._wait(file, timeout)
        if not file.path.exists():
            return 0
        offset = Ledger.read(self._ledger).offsets.get(file.path.name, 0)
        return sum(1 for _ in file.all(offset))

    def let_go(self) -> Path | None:
        """Say that nothing more comes, and leave the rest to the writer, which ends by itself; the spool's file."""
        spool, self._spool = self._spool, None
        if spool is None:
            return None
        self._tell(spool, self._runs.end(time.time()))
        spool.release()
        return spool.path

    def _wait(self, file: SpoolFile, timeout: float) -> None:
        size, sent, since, again = -1, None, time.monotonic(), True
        while file.path.exists() and time.monotonic() - since < timeout:
            now = self._ledger.stat().st_size if self._ledger.exists() else 0
            if now != size:
                size, ledger = now, Ledger.read(self._ledger)
                if sent != (sent := (dict(ledger.offsets), len(ledger.runs), len(ledger.ended))):
                    since = time.monotonic()
            if self._writer is not None and self._writer.poll() is not None and again:
                again = False  # it was killed; a second one that ends is a fault to be seen in its log
                self._start()
            time.sleep(0.02)
        if self._writer is not None:
            if file.path.exists():
                self._writer.terminate()
            self._writer.wait(timeout=10)


def rebuild(store: Store, tracking_uri: str | None, data_dir: Path) -> int:
    """Send all runs of all sweeps of a store once more; 1 if some is left, or a sweep cannot be planned any more.

    Raises:
        SweepError: the URI holds a password.
    """
    take, wrong = target(store, tracking_uri), 0
    for name in sweep_names(store):
        try:
            spool_again(store, name, take, tracking_uri, data_dir)
        except (SweepError, LookupError, TypeError) as error:  # such as a workload that is not on the path from here
            print(f"{name}: {error}", file=sys.stderr)
            wrong = 1
    return max(wrong, sync(store, tracking_uri))


def sync(store: Store, tracking_uri: str | None = None) -> int:
    """Send what drivers left in the spool, to where they meant it or to `tracking_uri`; 1 if some is left.

    Raises:
        SweepError: the URI holds a password, or is the address of no MLflow.
    """
    target(store, tracking_uri)  # refused before anything is spooled
    for name in sweep_names(store):
        _spool_late(store, name, tracking_uri)
    left = total = 0
    for folder in sorted(path for path in store.spool.glob("*") if path.is_dir()):
        for take in spool_targets(folder):
            waiting = spool_files(folder, take)
            uri = tracking_uri or _meant_for(waiting[0]) or embedded_uri(store)
            ledger = _ledger(store, folder.name, target(store, uri))
            writer.start(folder, take, uri, ledger, "--once").wait()
            running = sum(not file.abandoned() for file in waiting if file.path.exists())
            remaining = sum(file.path.exists() for file in waiting) - running
            left, total = left + remaining, total + len(waiting)
            told = f"; see {ledger.with_suffix('.log')}" if remaining else ""
            print(f"{folder.name}: {len(waiting) - remaining - running} of {len(waiting)} files sent", end="")
            print(f", {running} of a sweep that is running{told}" if running else told)
    if not total:
        print("MLflow has everything")
    return 1 if left else 0


def _spool_late(store: Store, name: str, tracking_uri: str | None) -> None:
    """Spool what was made of a sweep since its last run, where that run is shown."""
    late = made_late(store, name)
    if late is None or any(
        not file.abandoned()
        for take in spool_targets(store.spool / name)
        for file in spool_files(store.spool / name, take)
    ):
        return
    uri = tracking_uri or late.notes.uri
    take = target(store, uri)
    if late.notes.parent not in Ledger.read(_ledger(store, name, take)).runs or lost_database(
        uri or embedded_uri(store)
    ):
        return
    spool = Spool(store.spool / name, take)
    spool.append([{"op": "open", "experiment": name, "uri": uri}, *late.operations])
    spool.release()
    late.notes.exhibited(late.files)


def _meant_for(file: SpoolFile) -> str | None:
    first: Operation = next(file.all(), {})
    return first.get("uri")
