"""The rows that are written into MLflow's sqlite file are those that MLflow's own client would have written."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.to_mlflow import template
from orchestrator.to_mlflow.batch import Item, Lost, Server
from orchestrator.to_mlflow.database import REVISIONS, Database, revision
from orchestrator.to_mlflow.experiment import Experiment, connect
from orchestrator.to_mlflow.sender import send
from orchestrator.to_mlflow.spool import Operation, Spool
from tests.integration.servers import content, differences

pytestmark = pytest.mark.mlflow
DATA = {"name": "digits", "digest": "0" * 36, "source": "{}", "profile": "{}", "context": "fit"}


def begin(key: str, parent: str | None = None, **params: str) -> Operation:
    tags = {"sweep.key": key, "group": "a=1"}
    run: Operation = {"op": "run", "key": key, "name": f"run {key}", "time": 1_700_000_000_000, "tags": tags}
    return {**run, "params": params, "parent": parent, "datasets": [DATA]}


def log(key: str, *points: tuple[str, float, int, int]) -> Operation:
    return {"op": "log", "key": key, "metrics": [list(point) for point in points]}


def end(key: str, status: str = "FINISHED") -> Operation:
    return {"op": "end", "key": key, "status": status, "time": 1_700_000_009_000}


def files(*operations: Operation) -> list[Operation]:
    return [{"op": "open", "experiment": "two ways", "uri": None}, *operations]


FIRST = files(
    begin("above"),
    begin("a", "above", lr="0.1", width="32"),
    log("a", ("fit/loss", 0.5, 1, 1), ("fit/loss", 0.25, 2, 2), ("fit/loss", 0.25, 2, 2), ("late", 1.0, 9, 0)),
    log("a", ("late", 2.0, 3, 0), ("bad", math.nan, 1, 1), ("bad", 1.0, 1, 0), ("huge", -math.inf, 1, 0)),
    {"op": "tag", "key": "a", "tags": {"error": "it was\0 cut", "text": "ü" * 100}},
    begin("b", "above", lr="0.2"),
    {"op": "link", "key": "b", "tag": "shared.runs", "title": "Shared", "to": [["a", "a"], ["unknown", "x"]]},
    end("b"),
    {"op": "artifacts", "key": "a", "texts": {"notes/log.txt": "text"}},
    end("a", "KILLED"),
    end("above", "KILLED"),
)
SECOND = files(
    begin("above again"),
    begin("a", "above again", lr="0.3", depth="2"),
    log("a", ("fit/loss", 0.25, 20, 2), ("fit/loss", 0.125, 30, 3), ("late", 2.0, 30, 0), ("late", 3.0, 31, 0)),
    log("a", ("system/cpu", 10.0, 40, 10)),
    {"op": "tag", "key": "a", "tags": {"sweep.status": "done"}},
    end("a"),
    end("above again"),
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}", "first")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the file alone is all there is
    return path


def sent(folder: Path, tables: Path, server: Callable[[str], Server], files: list[list[Operation]]) -> str:
    shutil.copy(tables, folder / "mlflow.db")
    for operations in files:
        spool = Spool(folder / "spool", "here")
        spool.append(operations)
        os.utime(spool.path, (1_700_000_008, 1_700_000_008))  # when its driver died, if it did
        spool.release()
        assert send(folder / "spool", "here", folder / "ledger.jsonl", server, once=False)
    return f"sqlite:///{folder / 'mlflow.db'}"


def plain(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Not a number is equal to nothing, not even itself."""
    for run in found.values():
        run["metrics"] = {name: str(points) for name, points in run["metrics"].items()}
    return found


@pytest.mark.parametrize("files", [[FIRST], [FIRST[:-2]], [FIRST, SECOND], [FIRST, FIRST, SECOND, FIRST]])
def test_both_ways_write_the_same(tmp_path: Path, tables: Path, files: list[list[Operation]]) -> None:
    folders = [tmp_path / "database", tmp_path / "client"]
    for folder in folders:
        folder.mkdir()
    database = sent(folders[0], tables, lambda name: Database(folders[0] / "mlflow.db", name), files)
    location = (folders[1] / "mlartifacts" / "two ways").as_uri()
    uri = f"sqlite:///{folders[1] / 'mlflow.db'}"
    client = sent(folders[1], tables, lambda name: Experiment(uri, name, location), files)
    found, expected = plain(content(database, "two ways")), plain(content(client, "two ways"))
    assert len(expected) >= 3
    assert not differences(found, expected)
    assert rows(folders[0]) == rows(folders[1])


def test_a_server_that_fails_at_the_first_batch_of_a_later_run_doubles_nothing(tmp_path: Path, tables: Path) -> None:
    """The run before ended in order, so MLflow was known to have nothing that is not in the ledger."""
    uri, location = f"sqlite:///{tmp_path / 'mlflow.db'}", (tmp_path / "mlartifacts").as_uri()
    fails: list[Exception] = []

    class Unwell(Experiment):
        def log(self, run_id: str, items: Iterable[Item]) -> None:
            if fails:
                raise fails.pop()
            super().log(run_id, items)

    sent(tmp_path, tables, lambda name: Unwell(uri, name, location), [FIRST])
    fails += [OSError("500")]
    spool = Spool(tmp_path / "spool", "here")
    spool.append(SECOND)
    spool.release()
    assert send(tmp_path / "spool", "here", tmp_path / "ledger.jsonl", lambda name: Unwell(uri, name, location), False)
    assert not fails
    assert sorted(name for name, *_ in rows(tmp_path)["runs"]) == ["run a", "run above", "run above again", "run b"]


def rows(folder: Path) -> dict[str, list[tuple]]:
    """What the tables hold, without ids of runs and data sets, and without when an experiment was made."""
    questions = {
        "metrics": "SELECT key, value, timestamp, step, is_nan FROM metrics",
        "latest": "SELECT key, value, timestamp, step, is_nan FROM latest_metrics",
        "runs": "SELECT name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,"
        " source_version, lifecycle_stage, deleted_time FROM runs",
        "datasets": "SELECT name, digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile"
        " FROM datasets",
        "inputs": "SELECT source_type, destination_type, step FROM inputs",
        "input tags": "SELECT name, value FROM input_tags",
        "params": "SELECT key, value FROM params",
        "experiments": "SELECT name, lifecycle_stage, workspace FROM experiments",
    }
    with sqlite3.connect(folder / "mlflow.db") as connection:
        return {name: sorted(connection.execute(question), key=repr) for name, question in questions.items()}


def test_the_installed_mlflow_has_a_revision_that_is_known(tables: Path) -> None:
    """Otherwise its client is used, which is right and slow; add the revision if the test above passes with it."""
    assert revision(tables) in REVISIONS


def test_a_file_of_another_revision_is_left_to_mlflow(tmp_path: Path, tables: Path) -> None:
    shutil.copy(tables, tmp_path / "mlflow.db")
    assert isinstance(connect(f"sqlite:///{tmp_path / 'mlflow.db'}", "x"), Database)
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num='0123456789ab'")
    assert revision(tmp_path / "mlflow.db") not in REVISIONS


def test_a_store_that_was_moved_takes_its_artifacts_along(tmp_path: Path, tables: Path) -> None:
    for place in (old := tmp_path / "old", new := tmp_path / "new"):
        place.mkdir()
    sent(old, tables, lambda name: Database(old / "mlflow.db", name), [FIRST])
    shutil.copytree(old, new, dirs_exist_ok=True)
    Database(new / "mlflow.db", "two ways")
    shutil.rmtree(old)
    assert content(f"sqlite:///{new / 'mlflow.db'}", "two ways")["a"]["artifacts"] == ["notes/log.txt"]


def test_a_run_that_was_deleted_is_lost(tmp_path: Path, tables: Path) -> None:
    sent(tmp_path, tables, lambda name: Database(tmp_path / "mlflow.db", name), [FIRST])
    database = Database(tmp_path / "mlflow.db", "two ways")
    run = database.runs()["a"]
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET lifecycle_stage='deleted' WHERE run_uuid=?", [run])
    with pytest.raises(Lost):
        database.resume(run, FIRST[2], None, running=True)
    assert "a" not in database.runs()


def test_the_next_store_copies_the_empty_file_that_the_first_one_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = tmp_path / "first" / "mlflow.db", tmp_path / "a second" / "mlflow.db"
    template.unpack(second)
    assert not second.exists(), "nothing is kept yet"
    connect(f"sqlite:///{first}", "one")
    template.unpack(second)
    assert revision(second) == revision(first)
    with closing(sqlite3.connect(second)) as connection:
        experiments = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    assert experiments == [("Default", (second.parent / "mlartifacts" / "0").as_uri())]
    assert isinstance(connect(f"sqlite:///{second}", "two"), Database)
    before = second.read_bytes()
    template.unpack(second)
    assert second.read_bytes() == before, "what is there stays"


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0 and then not"])
def test_a_damaged_empty_file_is_not_used(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    template.kept().parent.mkdir()
    template.kept().write_bytes(content)
    template.unpack(tmp_path / "store" / "mlflow.db")
    assert not (tmp_path / "store" / "mlflow.db").exists()
