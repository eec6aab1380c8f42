"""`sweep sync --rebuild`: all runs of a store's sweeps once more, from its nodes, for an MLflow that has lost them.

What a run showed that is not in the store is not there again: the samples of the machine, and when each point of a
curve was logged, which is spread over the node's time. `sweeps/<NAME>/runs.jsonl` notes the runs above the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.commands.request import saved_spec
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.running.events import NodeFailed, NodeSkipped
from orchestrator.storage import index
from orchestrator.store import Store
from orchestrator.to_mlflow.description import Descriptions
from orchestrator.to_mlflow.exhibits import Exhibits, digests, made_later
from orchestrator.to_mlflow.naming import milliseconds, provenance_tags
from orchestrator.to_mlflow.operations import Runs
from orchestrator.to_mlflow.spool import Operation, Spool

RUNS = "runs.jsonl"
OF_RUN = ("sweep.store", "sweep.host", "sweep.dirty", "mlflow.source.git.commit", "version.")  # tags of one `sweep run`


@dataclass
class Notes:
    """Notes the run above the others as it begins and ends, for a rebuild. Never raises."""

    path: Path
    parent: str
    uri: str | None
    _ended: list[str] = field(default_factory=list)

    def take(self, operations: Iterable[Operation]) -> Iterator[Operation]:
        """The same operations."""
        for operation in operations:
            if operation["op"] == "end" and operation["key"] != self.parent:
                self._ended.append(operation["key"])
            elif operation["op"] == "run" and operation["key"] == self.parent:
                self._add({**operation, "uri": self.uri})
            elif operation["op"] == "end":
                self._add({**operation, "runs": self._ended})
            elif operation["op"] == "artifacts" and operation["key"] == self.parent:
                self.exhibited(operation.get("files", {}))
            yield operation

    def exhibited(self, files: Mapping[str, str]) -> None:
        """Note of which figures and reports MLflow was told."""
        with suppress(OSError):
            self._add({"op": "artifacts", "key": self.parent, "shown": digests(files)})

    def _add(self, entry: Operation) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        except OSError:
            return


@dataclass
class _Parent:
    """A `sweep run` as it was noted: where it was to be shown, and the digests of the figures and reports that were.

    `end` is None for one that was killed.
    """

    run: Operation
    uri: str | None
    end: Operation | None = None
    shown: dict[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, str]:
        return {name: text for name, text in self.run["tags"].items() if name.startswith(OF_RUN)}


def _noted(path: Path) -> dict[str, _Parent]:
    found: dict[str, _Parent] = {}
    if not path.exists():
        return found
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # cut off
            continue
        if entry["op"] == "run":
            uri = entry.pop("uri", None)
            found[entry["key"]] = _Parent(entry, uri)
        elif entry["key"] in found and entry["op"] == "artifacts":
            found[entry["key"]].shown |= entry["shown"]
        elif entry["key"] in found:
            found[entry["key"]].end = entry
    return found


def spool_again(store: Store, name: str, target: str, uri: str | None, data_dir: Path) -> Path | None:
    """Spool all runs of the sweep `name`; the spool's file, None if there is nothing to show.

    Raises:
        SweepError: the sweep's file cannot be planned any more.
    """
    plan = make_plan(saved_spec(store, name), data_dir)
    operations = [*_operations(plan, store, data_dir)]
    if not operations:
        return None
    spool = Spool(store.spool / name, target)
    spool.append([{"op": "open", "experiment": name, "uri": uri}, *operations])
    spool.release()
    return spool.path


def _operations(plan: Plan, store: Store, data_dir: Path) -> Iterator[Operation]:
    noted = _noted(store.sweep_folder(plan.spec.record_name) / RUNS)
    last = next(reversed(noted.values()), None)
    now = last.run["time"] / 1000 if last else time.time()
    parent = last.run["key"] if last else f"sweep-run-{milliseconds(now)}-rebuilt"
    tags = last.tags if last else provenance_tags(store.uri)
    runs = Runs(Descriptions(plan, tags, data_dir, parent), store, index.known(store, plan.nodes), {}, now)
    above = {key: one for one in noted.values() for key in (one.end["runs"] if one.end else ())}
    for one in [*noted.values()][:-1]:
        yield one.run
        yield _end_of(one)
    for operation in [*runs.begin(), *_failed(plan, store, runs)]:
        if operation["op"] == "run" and (was := above.get(operation["key"])):
            operation = {**operation, "parent": was.run["key"], "tags": {**operation["tags"], **was.tags}}
        yield operation
    for operation in runs.end(time.time(), Exhibits(plan, store, data_dir)):
        if operation["op"] == "end" and operation["key"] == parent and last:
            operation = _end_of(last)
        yield operation


@dataclass(frozen=True)
class Late:
    """Figures and reports that were made after their sweep had ended: for whom, and what tells MLflow of them."""

    notes: Notes
    files: dict[str, str]
    operations: list[Operation]


def made_late(store: Store, name: str) -> Late | None:
    """What `sweep report` and `sweep figures` have made of a sweep since its last run, if anything."""
    path = store.sweep_folder(name) / RUNS
    last = next(reversed(_noted(path).values()), None)
    files = made_later(path.parent, last.shown) if last else {}
    if last is None or not files:
        return None
    key = str(last.run["key"])
    return Late(
        Notes(path, key, last.uri), files, [last.run, {"op": "artifacts", "key": key, "files": files}, _end_of(last)]
    )


def _end_of(parent: _Parent) -> Operation:
    end = parent.end or {"status": "KILLED", "time": parent.run["time"]}
    return {"op": "end", "key": parent.run["key"], "status": end["status"], "time": end["time"]}


def _failed(plan: Plan, store: Store, runs: Runs) -> Iterator[Operation]:
    """The nodes that have failed, and what could not run for that."""
    because: dict[str, str] = {}
    for key, node in plan.nodes.items():
        if key in runs.done:
            continue
        behind = next((because[ref.key] for ref in node.inputs.values() if ref.key in because), None)
        if behind is not None:
            because[key] = behind
            yield from runs.take(NodeSkipped(key, behind, runs.time))
        elif failure := store.failure(key):
            because[key] = key
            when = failure.meta.get("finished")
            yield from runs.take(NodeFailed(key, failure, float(when) if when else runs.time))
