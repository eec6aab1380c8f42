"""A sweep of as many trials as one likes for simulated machines, and how its frontier and store are driven."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.plan import Plan, plan
from orchestrator.planning.costs import note_of
from orchestrator.planning.node import Node
from orchestrator.running.events import Event
from orchestrator.running.grouping import Group
from orchestrator.store import Failure, Outcome, Store
from orchestrator.sweepfile.check import read_checked
from tests.simulated.cluster import Dispatcher

SAMPLED = 10
COMBINATIONS = 400  # of levels; the rest are seeds
SPEC = """\
name: scale
title: Which heuristic repairs an adversarial start, at four widths and five degrees of it?
stages:
  corrupt:
    workload: train
    data: {{name: cifar10, labels: random, copies: 1}}
    model: {{name: resnet18, width: 16}}
    optimizer: {{name: sgd, lr: 0.1}}
    stop: {{train_accuracy: 1.0, epochs: 100}}
  train:
    workload: train
    start: {{from: corrupt}}
    data: {{name: cifar10}}
    optimizer: {{name: sgd, lr: 0.1}}
    stop: {{epochs: 150}}
  measure: {{workload: measure, from: train, measures: [test_accuracy, distance_from_start]}}
axes:
  corrupt.model.width: [8, 16, 32, 64]
  corrupt.data.copies: [1, 2, 3, 4, 5]
  train.optimizer.lr: [0.01, 0.02, 0.05, 0.1, 0.2]
  train.optimizer.weight_decay: [0, 5.0e-4]
  train.optimizer.momentum: [0, 0.9]
  seed: {seeds}
tables:
  repair: {{rows: [train.optimizer.lr, corrupt.model.width], values: [test_accuracy]}}
"""


def planned(folder: Path, trials: int) -> Plan:
    """The plan of the sweep, by the planner; 20 trainings, with two measures each, share a corrupted start."""
    path = folder / "scale.yaml"
    path.write_text(SPEC.format(seeds=-(-trials // COMBINATIONS)), encoding="utf-8")
    return plan(read_checked(path, None, {}), folder)


def outcome(node: Node, seconds: float, folder: bool) -> Outcome:
    """What the outcome of a node has in it, of the size that real ones have."""
    meta = {"host": "fake-17", "device": "cuda:0", "gpu": "NVIDIA H200", "python": "3.11.7", "torch": "2.15.0"}
    meta |= {
        "started": 1.8e9,
        "finished": 1.8e9 + seconds,
        "commit": "0" * 40,
        "dirty": False,
        **note_of(node, seconds),
    }
    start = str(node.inputs["start"]) if "start" in node.inputs else None
    metrics = {"test_accuracy": 0.5, "train_accuracy": 1.0, "loss": 0.1}
    files = {"weights.safetensors": "0" * 64} if folder else {}
    return Outcome(node.key, node.workload, "done", metrics, node.config, node.seed, start, seconds, meta, files)


@dataclass
class Committing:
    """Commits as workers do; the folders of one training in `every`, all else as rows of one file a report.

    Attributes:
        seconds: What it took: of the workers' time, not of the driver's.
    """

    store: Store
    every: int
    seconds: float = 0.0
    rows: int = 0
    files: int = 0
    folders: int = 0
    times: Counter[str] = field(default_factory=Counter)

    def __call__(self, outcomes: Sequence[Outcome], failures: Sequence[Failure]) -> list[Outcome]:
        start = time.perf_counter()
        rows = [item for item in outcomes if not item.folder]
        write = {"weights.safetensors": lambda path: path.write_bytes(bytes(4096))}
        folders = [self.store.commit_folder(item, write) for item in outcomes if item.folder]
        self.store.commit_rows(rows)
        for failure in failures:
            self.store.fail(failure)
        self.times.update(item.key for item in outcomes)
        self.rows, self.files = self.rows + len(rows), self.files + bool(rows)
        self.folders += len(folders)
        self.seconds += time.perf_counter() - start
        return [*rows, *folders]

    def outcome(self, node: Node, seconds: float) -> Outcome:
        """Decided by the key, so that it is the same for whoever hands it out."""
        return outcome(node, seconds, folder=node.workload == "train" and int(node.key[:8], 16) % self.every == 0)


@dataclass
class Metered:
    """A dispatcher whose own time is measured: what it does, without what its caller does.

    Attributes:
        seconds, used: Wall and CPU seconds by what was asked of it.
    """

    inner: Dispatcher
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    used: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[str] = field(default_factory=Counter)
    decisions: int = 0

    def __post_init__(self) -> None:
        self.done, self.failures, self.skipped = self.inner.done, self.inner.failures, self.inner.skipped

    @property
    def finished(self) -> bool:
        return self.inner.finished

    def next(self) -> Group | None:
        start = self._start("next")
        group = self.inner.next()
        self._stop("next", start)
        self.decisions += group is not None
        return group

    def record(self, event: Event) -> None:
        start = self._start("record")
        self.inner.record(event)
        self._stop("record", start)

    def lost(self, group: Group, error: str) -> None:
        start = self._start("lost")
        self.inner.lost(group, error)
        self._stop("lost", start)

    def taken_away(self, group: Group, error: str) -> None:
        start = self._start("taken away")
        self.inner.taken_away(group, error)
        self._stop("taken away", start)

    def _start(self, what: str) -> tuple[float, float | None]:
        # To ask for the CPU time takes as long as a report: where there are many, one in ten is asked.
        asked = what != "record" or self.calls[what] % SAMPLED == 0
        return time.perf_counter(), time.thread_time() if asked else None

    def _stop(self, what: str, start: tuple[float, float | None]) -> None:
        self.seconds[what] += time.perf_counter() - start[0]
        if start[1] is not None:
            self.used[what] += (time.thread_time() - start[1]) * (SAMPLED if what == "record" else 1)
        self.calls[what] += 1
