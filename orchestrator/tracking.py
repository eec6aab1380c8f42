"""MLflow, and nothing else that knows it: the driver's tracker, the process that writes, `sweep sync` and `sweep ui`.

The tracker turns events into lines of a spool file and never waits. A process of its own reads the spool and is the one
writer to MLflow, so a slow or dead MLflow costs the driver nothing. What is sent may be sent again: runs are found by
their key, and MLflow keeps a metric point or a tag that it is told twice once.

    python -m orchestrator.tracking --spool FOLDER --take TARGET --uri URI --ledger FILE [--once]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from orchestrator.errors import SweepError
from orchestrator.events import Event
from orchestrator.naming import provenance_tags
from orchestrator.operations import Runs
from orchestrator.plan import Plan
from orchestrator.sender import Item, Lost, Rejected, send
from orchestrator.server import EMBEDDED, ENVIRONMENT, embedded_uri, lost_database, sqlite_path, ui
from orchestrator.spool import Ledger, Operation, Spool, SpoolFile, spool_files, spool_targets
from orchestrator.store import Outcome, Store

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

__all__ = ["Mlflow", "Tracker", "sync", "target", "ui"]


def target(store: Store, uri: str | None) -> str:
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


def _start_writer(store: Store, name: str, take: str, uri: str, ledger: Path, *options: str) -> subprocess.Popen[bytes]:
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
        self._target = target(store, tracking_uri)
        self._ledger = _ledger(store, self._name, self._target)
        recorded = {} if lost_database(self._uri) else Ledger.read(self._ledger).ended
        self._spool: Spool | None = None
        self._writer: subprocess.Popen[bytes] | None = None
        self._runs = Runs(plan, done, recorded, *provenance_tags(store.root), time.time())
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
        spool.append(self._runs.end(time.time()))
        spool.release()
        file = SpoolFile(spool.path)
        self._wait(file, timeout)
        if not file.path.exists():
            return 0
        offset = Ledger.read(self._ledger).offsets.get(file.path.name, 0)
        return sum(1 for _ in file.all(offset))

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
            ledger = _ledger(store, folder.name, target(store, uri))
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


class Mlflow:
    """One experiment of an MLflow, through its public client: the `Server` that the sender sends to."""

    def __init__(self, uri: str, experiment: str) -> None:
        from mlflow import MlflowClient

        path = sqlite_path(uri)
        location = _prepare_sqlite(path) if path is not None else None
        self._client = MlflowClient(uri)
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            self._experiment = self._client.create_experiment(
                experiment, location and f"{location}/{quote(experiment)}"
            )
        else:
            self._experiment = found.experiment_id
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(self._experiment)

    def runs(self) -> dict[str, str]:
        found: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token)
            found.update({run.data.tags["sweep.key"]: run.info.run_id for run in page if "sweep.key" in run.data.tags})
            token = page.token
            if not token:
                return found

    def create(self, run: Operation, parent: str | None) -> str:
        tags = {**run["tags"], **({"mlflow.parentRunId": parent} if parent else {})}
        made = self._client.create_run(self._experiment, run["time"], tags, run["name"])
        return made.info.run_id

    def resume(self, run_id: str, run: Operation, parent: str | None, running: bool) -> list[Item]:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(run_id)
        except MlflowException as error:
            raise _told(error) from error
        if found.info.lifecycle_stage == "deleted":
            raise Lost(f"run {run_id} was deleted")
        for name in {"error", "sweep.status"} & found.data.tags.keys():
            self._client.delete_tag(run_id, name)
        if running and found.info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
        tags = {**run["tags"], **({"mlflow.parentRunId": parent} if parent else {})}
        lacking = [("tag", pair) for pair in tags.items() if found.data.tags.get(pair[0]) != pair[1]]
        # A param is written once; one that would change (a list of measures that grew) keeps what it was.
        return [*lacking, *(("param", pair) for pair in run["params"].items() if pair[0] not in found.data.params)]

    def log(self, run_id: str, items: Iterable[Item]) -> None:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        makers = {"metric": Metric, "param": Param, "tag": RunTag}
        made = {kind: [makers[kind](*values) for of, values in items if of == kind] for kind in makers}
        try:
            self._client.log_batch(run_id, made["metric"], made["param"], made["tag"])
        except MlflowException as error:
            raise _told(error) from error

    def end(self, run_id: str, status: str, time: int) -> None:
        self._client.set_terminated(run_id, status, time)


def _told(error: MlflowException) -> Exception:
    """What the sender should make of an error of MLflow's."""
    if error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return Lost(error.message)
    return Rejected(error.message) if error.error_code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST") else error


def _prepare_sqlite(path: Path) -> str:
    """Make the file one that is cheap to write to; where artifacts go. What a power cut takes, the spool still has."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")  # kept in the file
    connection.close()
    if not event.contains(Engine, "connect", _relax):
        event.listen(Engine, "connect", _relax)
    return (path.parent / "mlartifacts").as_uri()


def _relax(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def main() -> int:
    """The writer: 0 when all is sent, 1 when it gave up."""
    parser = argparse.ArgumentParser(prog="orchestrator.tracking")
    for name in ("--spool", "--ledger"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--take", "--uri"):
        parser.add_argument(name, required=True)
    parser.add_argument("--once", action="store_true")
    request = parser.parse_args()
    os.nice(10)  # the trainings go first: it has time while they run, and all of the machine when they have ended
    if lost_database(request.uri):
        request.ledger.unlink(missing_ok=True)
    done = send(request.spool, request.take, request.ledger, lambda name: Mlflow(request.uri, name), request.once)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
