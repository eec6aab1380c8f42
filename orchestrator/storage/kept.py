"""What the store keeps of a finished node, as MLflow shall show it: its curves, its files, when it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.storage.contents import ARRAYS, HISTORY
from orchestrator.store import Damaged, Outcome, Store
from orchestrator.to_mlflow.naming import milliseconds, mlflow_name

if TYPE_CHECKING:
    import pyarrow

ARTIFACTS = "artifacts/"  # what a workload logged through its context, in the node's folder
WHERE = {"host": "sweep.host", "device": "sweep.device", "gpu": "sweep.gpu"}
POINTS = 1000  # a line of the spool has at most so many


def finished(outcome: Outcome, default: float) -> float:
    """When the node ended, in unix seconds: said again by a later run, it is the same point."""
    time = outcome.meta.get("finished")
    return float(time) if isinstance(time, int | float) else default


def started(outcome: Outcome, default: float) -> float:
    """When the node began, in unix seconds."""
    time = outcome.meta.get("started")
    return float(time) if isinstance(time, int | float) else default


def where(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Where nodes were computed, as tags: hosts, devices, GPUs."""
    found: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        for name, tag in WHERE.items():
            if value := outcome.meta.get(name):
                found.setdefault(tag, {})[str(value)] = None
    return {tag: ", ".join(sorted(values)) for tag, values in found.items()}


def curves(store: Store, outcome: Outcome, stage: str) -> Iterator[list[list[Any]]]:
    """What the node logged, as [name, value, time, step], in pieces. When is not kept: spread over its run."""
    if HISTORY not in outcome.files:
        return
    try:
        table = store.history(outcome)
    except Damaged:  # the run that finds it computes the node again
        return
    if table is None:
        return
    end = finished(outcome, 0.0)
    start = min(started(outcome, end), end)
    points = list(_points(table, stage, start, end))
    for first in range(0, len(points), POINTS):
        yield points[first : first + POINTS]


def _points(table: pyarrow.Table, stage: str, start: float, end: float) -> Iterator[list[Any]]:
    steps = table["step"].to_pylist()
    names = [name for name in table.column_names if name != "step"]
    columns = [(mlflow_name(f"{stage}/{name}"), table[name].to_pylist()) for name in names]
    for row, step in enumerate(steps):
        time = milliseconds(start + (end - start) * (row + 1) / len(steps))
        yield from ([name, values[row], time, step] for name, values in columns if values[row] is not None)


def finals(metrics: Mapping[str, tuple[float, Outcome]], default: float) -> list[list[Any]]:
    """What finished nodes report, each value with its node, as [name, value, time, 0]; `default` is a time unknown."""
    return [
        [mlflow_name(name), float(value), milliseconds(finished(outcome, default)), 0]
        for name, (value, outcome) in metrics.items()
    ]


def artifacts(store: Store, outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, str]]:
    """Where the `files` of nodes by label lie, by name, and their `curves`, by label."""
    found = {name: path for label, it in outcomes.items() for name, path in files(store, it, label).items()}
    histories = {label: history_file(store, outcome) for label, outcome in outcomes.items()}
    return {"files": found, "curves": {label: path for label, path in histories.items() if path is not None}}


def files(store: Store, outcome: Outcome, label: str) -> dict[str, str]:
    """Where the arrays and the artifacts of a node lie, by the name under which a run shows them."""
    folder = store.node_folder(outcome.key)
    names = [name for name in outcome.files if name == ARRAYS or name.startswith(ARTIFACTS)]
    store.bring(outcome, names)
    return {f"{label}/{name.removeprefix(ARTIFACTS)}": str(folder / name) for name in names}


def history_file(store: Store, outcome: Outcome) -> str | None:
    """Where the curves of a node lie."""
    if HISTORY not in outcome.files:
        return None
    store.bring(outcome, [HISTORY])
    return str(store.node_folder(outcome.key) / HISTORY)
