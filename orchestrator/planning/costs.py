"""What nodes have cost: learnt from the index, asked by forecasts.

A node costs about what finished nodes of its kind did. The finest kind is the same config under another seed; a coarser
one also leaves out the rates (Node.kind); the coarsest is the same workload and model, whose cost is taken in
proportion to the work. Devices are never mixed, and nodes that went on from a checkpoint, whose time is not the whole,
do not count.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.planning.keys import digest

if TYPE_CHECKING:
    import pyarrow

    from orchestrator.planning.node import Node
    from orchestrator.store import Outcome

COLUMNS = {
    "exact": "string",
    "kind": "string",
    "family": "string",
    "device": "string",
    "seconds": "float64",
    "cores": "float64",
    "work": "float64",
    "bytes": "int64",
}
"""What the index has of the cost of each node, with the types: wall seconds of its worker, which had so many CPU cores
busy, and floating-point operations."""


class Clock:
    """Times this process from its making on."""

    def __init__(self) -> None:
        self._wall, self._used = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        """Wall time."""
        return time.monotonic() - self._wall

    @property
    def cores(self) -> float:
        """How many CPU cores it has kept busy, in the mean: less than 1 where it waited, or shared one."""
        return (time.process_time() - self._used) / max(self.seconds, 1e-9)


@dataclass
class Moments:
    """Sums over some numbers, from which their mean and spread follow."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count, self.total, self.squares = self.count + 1, self.total + value, self.squares + value**2

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The sample standard deviation; a third of the mean where there is one number only."""
        if self.count < 2:
            return self.mean / 3
        return math.sqrt(max(self.squares - self.count * self.mean**2, 0.0) / (self.count - 1))


@dataclass
class Sample:
    """What the finished nodes of one kind have cost: wall seconds and CPU seconds of each, and sums of the rest."""

    wall: Moments = field(default_factory=Moments)
    cpu: Moments = field(default_factory=Moments)
    work: float = 0.0
    bytes: int = 0

    @property
    def count(self) -> int:
        return self.wall.count


@dataclass
class Costs:
    """What nodes have cost, by every kind that a node can be asked by."""

    samples: dict[tuple[str, str], Sample] = field(default_factory=dict)  # (device, kind)

    def of(self, device: str, kind: str) -> Sample | None:
        """What the finished nodes of a kind have cost on a device."""
        return self.samples.get((device, kind)) if kind else None

    def add(self, cost: Mapping[str, Any]) -> None:
        """Count one finished node in (`cost_of`)."""
        seconds = cost["seconds"]
        if seconds is None:
            return
        for kind in (cost["exact"], cost["kind"], cost["family"]):
            if kind:
                sample = self.samples.setdefault((cost["device"], kind), Sample())
                sample.wall.add(seconds)
                sample.cpu.add(seconds * cost["cores"])
                sample.work += cost["work"] or 0.0
                sample.bytes += cost["bytes"]


def learn(table: pyarrow.Table, others: Iterable[tuple[Outcome, int]] = ()) -> Costs:
    """The costs of an index, and of finished nodes that it does not have yet, each with its size in bytes."""
    costs = Costs()
    for row in zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True):
        costs.add(dict(zip(COLUMNS, row, strict=True)))
    for outcome, size in others:
        costs.add(cost_of(outcome, size))
    return costs


def cost_of(outcome: Outcome, size: int) -> dict[str, Any]:
    """The cost of a finished node of `size` bytes, as the index keeps it."""
    kind, work = str(outcome.meta.get("kind") or ""), outcome.meta.get("work")
    used, threads = outcome.meta.get("cpu_seconds"), float(outcome.config.get("threads", 1))
    return {
        "exact": exact(kind, json.dumps(outcome.config, sort_keys=True)),
        "kind": kind,
        "family": family(outcome.workload, outcome.config, work is not None),
        "device": device_kind(str(outcome.meta.get("device"))),
        "seconds": None if "resumed_at" in outcome.meta else outcome.seconds,
        "cores": used / outcome.seconds if isinstance(used, int | float) and outcome.seconds else threads,
        "work": float(work) if isinstance(work, int | float) else None,
        "bytes": size,
    }


def note_of(node: Node, cpu_seconds: float) -> dict[str, str | float]:
    """What the outcome of a node has to say of its size, for `cost_of`: its config and its seconds do not say it."""
    said: dict[str, str | float] = {"cpu_seconds": cpu_seconds} | ({"kind": node.kind} if node.kind else {})
    return said if node.work is None else said | {"work": node.work.operations}


def exact_of(node: Node) -> str:
    """The finest kind of a node: nodes that differ in their seed, and in nothing else."""
    return exact(node.kind, json.dumps(node.config, sort_keys=True))


@lru_cache(maxsize=50_000)
def exact(kind: str, config: str) -> str:
    """The finest kind of a node with this `config`, as sorted JSON."""
    return digest([kind, config])


def family(workload: str, config: Mapping[str, Any], sized: bool) -> str:
    """The coarsest kind: a workload, on which model, or which measures; and whether its work is known."""
    model, measures = config.get("model"), config.get("measures")
    parts = [workload, model.get("name", "") if isinstance(model, Mapping) else ""]
    if isinstance(measures, list | tuple):
        parts += [str(item.get("name")) if isinstance(item, Mapping) else str(item) for item in measures]
    return "/".join([*parts, "" if sized else "?"])


def device_kind(device: str) -> str:
    """`cuda` of `cuda:0`."""
    return device.partition(":")[0]
