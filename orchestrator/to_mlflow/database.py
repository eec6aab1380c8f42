"""The embedded MLflow: its sqlite file, written in its own tables, a batch of runs in one transaction.

MLflow's client takes 30 ms and some twenty queries for a run, and three seconds to be imported; the writer shares the
machine with the trainings. So where the tables are of a revision that is known here, the rows are written as MLflow
would; of any other, and on servers, its client is used (experiment.py). A test holds the two against each other.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from orchestrator.to_mlflow.artifacts import place
from orchestrator.to_mlflow.batch import LARGEST, Item, Lost, Rejected
from orchestrator.to_mlflow.naming import MAX_KEY
from orchestrator.to_mlflow.spool import Operation

REVISIONS = {"dc11669786a5"}  # of MLflow's tables: 3.17
ARTIFACTS = "mlartifacts"  # beside the file
WAIT = 20.0  # seconds for another process that writes: the server behind `sweep ui`
OF_RUNS = (
    "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, source_version, "
    "lifecycle_stage, artifact_uri, experiment_id"
)


def revision(path: Path) -> str | None:
    """Of MLflow's tables in a sqlite file; None where there are none."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=WAIT)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return found and found[0]


def relax(connection: sqlite3.Connection) -> None:
    """Make a file cheap to write to: what a power cut takes, the spool and the store still have."""
    connection.execute("PRAGMA journal_mode=WAL")  # kept in the file
    connection.execute("PRAGMA synchronous=NORMAL")


class Database:
    """One experiment of the embedded MLflow: the `Server` that the sender sends to."""

    parallel = 1
    batch_bytes = 1 << 21

    def __init__(self, path: Path, experiment: str) -> None:
        self._connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
        relax(self._connection)
        self._artifacts = path.parent / ARTIFACTS / experiment
        self._location = self._artifacts.as_uri()
        with self.batch():
            self.experiment = str(self._find_or_make(experiment))
            self._follow_the_store()

    def _query(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        return self._connection.execute(statement, values).fetchall()

    def _find_or_make(self, name: str) -> int:
        found = self._query("SELECT experiment_id, lifecycle_stage FROM experiments WHERE name=?", [name])
        if not found:
            now = round(time.time() * 1000)
            self._query(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
                " VALUES (?, ?, 'active', ?, ?)",
                [name, self._location, now, now],
            )
            return self._query("SELECT last_insert_rowid()")[0][0]
        if found[0][1] == "deleted":
            for table in ("experiments", "runs"):
                self._query(f"UPDATE {table} SET lifecycle_stage='active' WHERE experiment_id=?", [found[0][0]])
        return found[0][0]

    def _follow_the_store(self) -> None:
        """A store that was moved took its artifacts along; MLflow keeps whole paths."""
        ((known,),) = self._query("SELECT artifact_location FROM experiments WHERE experiment_id=?", [self.experiment])
        if known != self._location:
            self._query(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE experiment_id=?"
                " AND substr(artifact_uri, 1, ?) = ?",
                [self._location, len(known) + 1, self.experiment, len(known), known],
            )
            self._query(
                "UPDATE experiments SET artifact_location=? WHERE experiment_id=?", [self._location, self.experiment]
            )

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All of it, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def runs(self) -> dict[str, str]:
        return dict(
            self._query(
                "SELECT tags.value, tags.run_uuid FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid"
                " WHERE tags.key='sweep.key' AND runs.experiment_id=? AND runs.lifecycle_stage='active'",
                [self.experiment],
            )
        )

    def create(self, run: Operation, parent: str | None) -> str:
        run_id = uuid.uuid4().hex
        uri = f"{self._location}/{run_id}/artifacts"
        row = [run_id, run["name"], "UNKNOWN", "", "", "unknown", "RUNNING", run["time"], "", "active", uri]
        self._query(f"INSERT INTO runs ({OF_RUNS}) VALUES ({', '.join('?' * 12)})", [*row, self.experiment])
        tags = {**run["tags"], **({"mlflow.parentRunId": parent} if parent else {}), "mlflow.runName": run["name"]}
        self._put_tags(run_id, tags.items())
        return run_id

    def resume(self, run_id: str, run: Operation, parent: str | None, running: bool) -> list[Item]:
        found = self._query("SELECT lifecycle_stage, status FROM runs WHERE run_uuid=?", [run_id])
        if not found or found[0][0] == "deleted":
            raise Lost(f"run {run_id} was deleted")
        self._query("DELETE FROM tags WHERE run_uuid=? AND key IN ('error', 'sweep.status')", [run_id])
        if running:
            self._query("UPDATE runs SET status='RUNNING' WHERE run_uuid=?", [run_id])
        tags = {**run["tags"], **({"mlflow.parentRunId": parent} if parent else {})}
        had = {name for (name,) in self._query("SELECT key FROM params WHERE run_uuid=?", [run_id])}
        # A param is written once; one that would change (a list of measures that grew) keeps what it was.
        return [
            *(("tag", pair) for pair in tags.items()),
            *(("param", pair) for pair in run["params"].items() if pair[0] not in had),
        ]

    def points(self, run_id: str) -> Iterator[tuple[str, int, float]]:
        rows = self._query("SELECT key, step, value, is_nan FROM metrics WHERE run_uuid=?", [run_id])
        yield from ((name, step, float("nan") if is_nan else value) for name, step, value, is_nan in rows)

    def log(self, run_id: str, items: Iterable[Item]) -> None:
        items = [*items]
        if wrong := [values[0] for _, values in items if not 0 < len(values[0]) <= MAX_KEY]:
            raise Rejected(f"a name of no or more than {MAX_KEY} characters: {wrong[0]!r}")
        self._put_tags(run_id, [values for kind, values in items if kind == "tag"])
        self._connection.executemany(
            "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(run_id, *values) for kind, values in items if kind == "param"],
        )
        self._put_metrics(run_id, [values for kind, values in items if kind == "metric"])

    def _put_tags(self, run_id: str, tags: Iterable[tuple[str, str]]) -> None:
        self._connection.executemany(
            "INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (key, run_uuid) DO UPDATE SET value=excluded.value",
            [(run_id, *pair) for pair in tags],
        )

    def _put_metrics(self, run_id: str, metrics: Iterable[tuple[str, float, int, int]]) -> None:
        """The points, and of every name the last by step, time and value."""
        rows = [(run_id, name, *_stored(value), when, step) for name, value, when, step in metrics]
        self._connection.executemany(
            "INSERT INTO metrics (run_uuid, key, value, is_nan, timestamp, step) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            rows,
        )
        last: dict[str, tuple] = {}
        for row in rows:
            known = last.get(row[1])
            if known is None or (row[5], row[4], row[2]) > (known[5], known[4], known[2]):
                last[row[1]] = row
        self._connection.executemany(
            "INSERT INTO latest_metrics (run_uuid, key, value, is_nan, timestamp, step) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key, run_uuid) DO UPDATE SET value=excluded.value, is_nan=excluded.is_nan,"
            " timestamp=excluded.timestamp, step=excluded.step"
            " WHERE (excluded.step, excluded.timestamp, excluded.value)"
            " > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
            last.values(),
        )

    def inputs(self, run_id: str, datasets: list[dict[str, str]]) -> None:
        for data in datasets:
            self._query(
                "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source,"
                " dataset_profile) VALUES (?, ?, ?, ?, 'local', ?, ?) ON CONFLICT DO NOTHING",
                [uuid.uuid4().hex, self.experiment, data["name"], data["digest"], data["source"], data["profile"]],
            )
            ((dataset,),) = self._query(
                "SELECT dataset_uuid FROM datasets WHERE experiment_id=? AND name=? AND digest=?",
                [self.experiment, data["name"], data["digest"]],
            )
            link = uuid.uuid4().hex
            made = self._query(
                "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)"
                " VALUES (?, 'DATASET', ?, 'RUN', ?) ON CONFLICT DO NOTHING RETURNING input_uuid",
                [link, dataset, run_id],
            )
            if made:
                self._query(
                    "INSERT INTO input_tags (input_uuid, name, value) VALUES (?, 'mlflow.data.context', ?)",
                    [link, data["context"]],
                )

    def artifacts(self, run_id: str, operation: Operation) -> None:
        place(self._artifacts / run_id / "artifacts", operation)

    def end(self, run_id: str, status: str, time: int) -> None:
        self._query("UPDATE runs SET status=?, end_time=? WHERE run_uuid=?", [status, time, run_id])


def _stored(value: float) -> tuple[float, bool]:
    """As MLflow keeps a number: nan beside the value, infinities as the largest float."""
    if value != value:
        return 0.0, True
    return min(max(value, -LARGEST), LARGEST), False
