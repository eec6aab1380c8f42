"""MLflow's own client, which is imported nowhere else: an experiment on a server, and the making of a sqlite file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.to_mlflow.artifacts import contents
from orchestrator.to_mlflow.batch import Item, Lost, Rejected, Server
from orchestrator.to_mlflow.database import ARTIFACTS, REVISIONS, Database, relax, revision
from orchestrator.to_mlflow.server import sqlite_path
from orchestrator.to_mlflow.spool import Operation
from orchestrator.to_mlflow.template import keep

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

LARGEST_UPLOAD = 32 << 20  # bytes; of larger files a server gets a note of where they lie


def connect(uri: str, experiment: str) -> Server:
    """The experiment of that name at a tracking URI, made where it is missing."""
    path = sqlite_path(uri)
    if path is None:
        return Experiment(uri, experiment)
    if revision(path) is None:
        _make_tables(path, uri)
    if revision(path) in REVISIONS:
        return Database(path, experiment)
    return Experiment(uri, experiment, (path.parent / ARTIFACTS / experiment).as_uri())


def _make_tables(path: Path, uri: str) -> None:
    import sqlite3

    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    relax(connection)
    connection.close()
    SqlAlchemyStore(uri, (path.parent / ARTIFACTS).as_uri())
    keep(path)


class Experiment:
    """One experiment of an MLflow, through its public client: the `Server` that the sender sends to."""

    parallel = 4
    batch_bytes = 1 << 18

    def __init__(self, uri: str, experiment: str, location: str | None = None) -> None:
        from mlflow import MlflowClient

        if location is not None:
            self.parallel = 1  # a sqlite file has one writer
        self._client, self._uri = MlflowClient(uri), uri
        self._places: dict[
            str, str
        ] = {}  # where the artifacts of a run go; the client asks for the whole run each time
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            self.experiment = self._client.create_experiment(experiment, location)
            return
        self.experiment = found.experiment_id
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(self.experiment)

    def batch(self) -> AbstractContextManager[None]:
        """Nothing holds several calls together: each may be told twice."""
        return nullcontext()

    def runs(self) -> dict[str, str]:
        found: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_runs([self.experiment], max_results=1000, page_token=token)
            found.update({run.data.tags["sweep.key"]: run.info.run_id for run in page if "sweep.key" in run.data.tags})
            token = page.token
            if not token:
                return found

    def create(self, run: Operation, parent: str | None) -> str:
        tags = {**run["tags"], **({"mlflow.parentRunId": parent} if parent else {})}
        made = self._client.create_run(self.experiment, run["time"], tags, run["name"])
        self._places[made.info.run_id] = made.info.artifact_uri or ""
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

    def points(self, run_id: str) -> Iterator[tuple[str, int, float]]:
        for name in self._client.get_run(run_id).data.metrics:
            for point in self._client.get_metric_history(run_id, name):
                yield name, point.step, point.value

    def log(self, run_id: str, items: Iterable[Item]) -> None:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        makers = {"metric": Metric, "param": Param, "tag": RunTag}
        made = {kind: [makers[kind](*values) for of, values in items if of == kind] for kind in makers}
        try:
            self._client.log_batch(run_id, made["metric"], made["param"], made["tag"])
        except MlflowException as error:
            raise _told(error) from error

    def inputs(self, run_id: str, datasets: list[dict[str, str]]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        made = [
            DatasetInput(
                Dataset(data["name"], data["digest"], "local", data["source"], profile=data["profile"]),
                [InputTag("mlflow.data.context", data["context"])],
            )
            for data in datasets
        ]
        self._client.log_inputs(run_id, made)

    def artifacts(self, run_id: str, operation: Operation) -> None:
        """Upload what there is, and of what is too large a note of where it lies."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = self._places.get(run_id) or self._client.get_run(run_id).info.artifact_uri or ""
        repository = get_artifact_repository(place, tracking_uri=self._uri)
        with tempfile.TemporaryDirectory(prefix="sweep-artifacts-") as folder:
            for name, content in contents(operation):
                if isinstance(content, Path) and content.stat().st_size <= LARGEST_UPLOAD:
                    repository.log_artifact(str(content), str(Path(name).parent).removeprefix("."))
                    continue
                text = content if isinstance(content, str) else f"{content.stat().st_size} bytes, on {content}\n"
                target = Path(folder) / (name if isinstance(content, str) else f"{name}.where.txt")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            repository.log_artifacts(folder)

    def end(self, run_id: str, status: str, time: int) -> None:
        self._client.set_terminated(run_id, status, time)
        self._places.pop(run_id, None)


@dataclass(frozen=True)
class Seen:
    """A run as a server has it; `began` in milliseconds."""

    name: str
    status: str
    began: int
    tags: dict[str, str]


def experiments(uri: str) -> dict[str, str]:
    """The numbers of a server's experiments by name."""
    from mlflow import MlflowClient

    client, found, token = MlflowClient(uri), {}, None
    while True:
        page = client.search_experiments(page_token=token)
        found.update({one.name: one.experiment_id for one in page})
        token = page.token
        if not token:
            return dict(sorted(found.items()))


def seen(uri: str, experiment: str) -> Iterator[Seen]:
    """All runs of an experiment."""
    from mlflow import MlflowClient

    client, token = MlflowClient(uri), None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            yield Seen(run.info.run_name or "", run.info.status, run.info.start_time or 0, run.data.tags)
        token = page.token
        if not token:
            return


def _told(error: MlflowException) -> Exception:
    """What the sender should make of an error. What a proxy answers in MLflow's place is none of the two codes."""
    if error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return Lost(error.message)
    return Rejected(error.message) if error.error_code == "INVALID_PARAMETER_VALUE" else error
