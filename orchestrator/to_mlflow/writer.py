"""The process that writes to MLflow: sends the spool of one sweep to one tracking URI, then ends.

python -m orchestrator.to_mlflow.writer --spool FOLDER --take TARGET --uri URI --ledger FILE [--once]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from orchestrator.to_mlflow.batch import Server
from orchestrator.to_mlflow.database import REVISIONS, Database, revision
from orchestrator.to_mlflow.sender import send
from orchestrator.to_mlflow.server import ENVIRONMENT, lost_database, sqlite_path
from orchestrator.to_mlflow.template import unpack


def start(spool: Path, take: str, uri: str, ledger: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the process that sends a spool; its output goes to a log beside the ledger."""
    command = [sys.executable, "-m", "orchestrator.to_mlflow.writer", "--spool", str(spool), "--take", take]
    command += ["--uri", uri, "--ledger", str(ledger), *options]
    ledger.parent.mkdir(parents=True, exist_ok=True)
    package = str(Path(__file__).resolve().parents[2])
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


def _connector(uri: str) -> Callable[[str], Server]:
    path = sqlite_path(uri)

    def connect(experiment: str) -> Server:
        if path is not None:
            unpack(path)
        if path is not None and revision(path) in REVISIONS:
            return Database(path, experiment)
        from orchestrator.to_mlflow.experiment import connect as connect_by_client  # loads MLflow, which takes seconds

        return connect_by_client(uri, experiment)

    return connect


def main() -> int:
    """0 when all is sent, 1 when it gave up."""
    parser = argparse.ArgumentParser(prog="orchestrator.to_mlflow.writer")
    for name in ("--spool", "--ledger"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--take", "--uri"):
        parser.add_argument(name, required=True)
    parser.add_argument("--once", action="store_true")
    request = parser.parse_args()
    os.nice(10)  # the trainings go first: it has time while they run, and all of the machine when they have ended
    if lost_database(request.uri):
        request.ledger.unlink(missing_ok=True)
    done = send(request.spool, request.take, request.ledger, _connector(request.uri), request.once)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
