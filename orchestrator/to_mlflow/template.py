"""An empty sqlite file with MLflow's tables, kept in the user's cache: to make one takes MLflow seconds.

A store's first run copies it, where it is of the MLflow that is installed and of a revision that is known here.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from orchestrator.to_mlflow.database import ARTIFACTS, REVISIONS, relax, revision


def kept() -> Path:
    """Where the empty file of the installed MLflow is kept, if it is."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sweep-orchestrator" / f"mlflow-{version('mlflow')}.db"


def keep(path: Path) -> None:
    """Keep a copy of a file whose tables have just been made; a cache that cannot be written is done without."""
    with suppress(OSError, RuntimeError, sqlite3.Error):
        if revision(path) in REVISIONS and not kept().exists():
            kept().parent.mkdir(parents=True, exist_ok=True)
            _copy(path, kept())


def unpack(path: Path) -> None:
    """Put the empty file at `path`, whole or not at all, if one is kept and nothing is there."""
    with suppress(OSError, RuntimeError, sqlite3.Error):
        if not path.exists() and revision(kept()) in REVISIONS:
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(kept(), path)


def _copy(source: Path, target: Path) -> None:
    """Copy tables and rows, under another name first; the default experiment's artifacts lie beside the new file."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    now = round(time.time() * 1000)
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(partial)) as new:
        old.backup(new)
        new.execute(
            "UPDATE experiments SET artifact_location=?, creation_time=?, last_update_time=? WHERE experiment_id=0",
            [(target.parent / ARTIFACTS / "0").as_uri(), now, now],
        )
        new.commit()
        relax(new)
    with suppress(FileExistsError):
        os.link(partial, target)  # unlike a rename it replaces nothing that another driver has made meanwhile
    partial.unlink()
