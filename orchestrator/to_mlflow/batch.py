"""What is sent to MLflow: operations grouped by run, in calls that it takes, and the server that they go to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.to_mlflow.spool import Operation

MAX_ITEMS, MAX_METRICS, MAX_PARAMS, MAX_TAGS = 1000, 1000, 100, 100  # what MLflow takes in one call
MAX_LINKS = 4000  # characters of a tag with the ids of other runs, and of the notes with links to them
LARGEST = 1.7976931348623157e308  # what MLflow keeps for an infinity
Item = tuple[str, Any]
"""A kind, metric | param | tag, and its values."""
Point = tuple[str, int, str]
"""The name, the step and the value of a metric that a run has."""


class Lost(Exception):
    """The server has not got a run that it had: it was set up anew."""


class Rejected(Exception):
    """The server will never take this."""


class Server(Protocol):
    """One experiment of an MLflow. Every method may raise anything while the server is unwell."""

    experiment: str
    parallel: int
    """How many runs may be written at once."""
    batch_bytes: int
    """How much of the spool is grouped and sent at a time: seconds of work, since the driver waits in the end."""

    def batch(self) -> AbstractContextManager[None]:
        """Around all that is sent at a time."""
        ...

    def runs(self) -> dict[str, str]:
        """Run ids by our key."""
        ...

    def create(self, run: Operation, parent: str | None) -> str: ...

    def resume(self, run_id: str, run: Operation, parent: str | None, running: bool) -> list[Item]:
        """Go on with a run; what of `run` it lacks. Raises Lost."""
        ...

    def points(self, run_id: str) -> Iterator[tuple[str, int, float]]:
        """The names, steps and values of all metrics that a run has."""
        ...

    def log(self, run_id: str, items: Iterable[Item]) -> None:
        """Raises Rejected: none of the items was taken."""
        ...

    def inputs(self, run_id: str, datasets: list[dict[str, str]]) -> None: ...

    def artifacts(self, run_id: str, operation: Operation) -> None: ...

    def end(self, run_id: str, status: str, time: int) -> None: ...


@dataclass
class Batch:
    """What is to be sent of one run, in as few calls as it takes."""

    key: str
    run: Operation | None = None
    items: list[Item] = field(default_factory=list)
    links: dict[str, Operation] = field(default_factory=dict)
    artifacts: list[Operation] = field(default_factory=list)
    end: Operation | None = None

    def take(self, operation: Operation) -> None:
        match operation["op"]:
            case "run":
                self.run = operation
            case "log":
                self.items += [("metric", tuple(metric)) for metric in operation["metrics"]]
            case "tag":
                self.items += [("tag", (name, text.replace("\0", ""))) for name, text in operation["tags"].items()]
            case "link":
                self.links[operation["tag"]] = operation
            case "artifacts":
                self.artifacts.append(operation)
            case "end":
                self.end = operation


def in_turn(operations: Iterable[Operation]) -> Iterator[list[Batch]]:
    """The operations by run, in as few turns as keep their order: a run that has ended may begin again."""
    batches: dict[str, Batch] = {}
    for operation in operations:
        if "key" not in operation:
            continue
        key = operation["key"]
        if key in batches and batches[key].end is not None:
            yield [*batches.values()]
            batches = {}
        batches.setdefault(key, Batch(key)).take(operation)
    yield [*batches.values()]


def identity(name: str, step: int, value: float) -> Point:
    """What makes a point of a run the same one: of a curve the step, of a final value the value.

    Example:
        >>> identity("fit/loss", 3, 0.5) == identity("fit/loss", 3, 0.25), identity("loss", 0, 0.5)
        (True, ('loss', 0, '0.5'))
    """
    if "/" in name:
        return name, step, ""
    return name, step, repr(min(max(value, -LARGEST), LARGEST)) if value == value else "nan"


def plain(name: str) -> str:
    return name.replace("[", "(").replace("]", ")")


def as_fits(texts: list[str], between: str) -> str:
    """The first of the texts that fit into a tag, and how many do not."""
    size, count = 0, 0
    while count < len(texts) and size + len(texts[count]) + len(between) <= MAX_LINKS:
        size += len(texts[count]) + len(between)
        count += 1
    left = [f"and {len(texts) - count} more"] if count < len(texts) else []
    return between.join([*texts[:count], *left])


def in_calls(items: Iterable[Item]) -> list[list[Item]]:
    """The items in order, in as many lists as MLflow's limits for one call ask for.

    Example:
        >>> [len(call) for call in in_calls([("param", ("x", "1"))] * 150 + [("tag", ("y", "2"))])]
        [100, 51]
    """
    limits: Mapping[str, int] = {"metric": MAX_METRICS, "param": MAX_PARAMS, "tag": MAX_TAGS}
    calls: list[list[Item]] = []
    left: dict[str, int] = {}
    for item in items:
        if not calls or left[item[0]] == 0 or len(calls[-1]) == MAX_ITEMS:
            calls.append([])
            left = dict(limits)
        calls[-1].append(item)
        left[item[0]] -= 1
    return calls
