"""One group of nodes: inputs -> workload -> store. Runs in a Ray worker or in the caller's process alike.

A node is committed before it is reported, so a reported node is never lost. Failures are reported, not raised.
"""

from __future__ import annotations

import json
import platform
import socket
import time
import traceback
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.context import START, WEIGHTS, RunContext, load_input
from orchestrator.events import Event, NodeDone, NodeFailed, NodeLogged, NodeStarted
from orchestrator.node import Node
from orchestrator.store import Failure, Outcome, Scalar, Store
from workloads.contract import Result, load_workload

BATCH_SECONDS = 0.25  # outcomes without files are committed together, at most this late


@dataclass
class Executor:
    """Runs nodes in turn on one device and publishes what happens.

    Args:
        provenance: What every outcome's meta should say of the code: commit, dirty.
    """

    store: Store
    data_dir: Path
    device: str
    provenance: Mapping[str, Scalar]
    publish: Callable[[Event], None]
    _rows: list[tuple[Outcome, float]] = field(default_factory=list)
    _flushed: float = 0.0

    def run(self, nodes: Sequence[Node]) -> None:
        """Execute a group; siblings share what they memoize."""
        memos: dict[Hashable, Any] = {}
        self._flushed = time.monotonic()
        for node in nodes:
            self._run_one(node, memos)
            if self._rows and time.monotonic() - self._flushed > BATCH_SECONDS:
                self._flush()
        self._flush()

    def _run_one(self, node: Node, memos: dict[Hashable, Any]) -> None:
        self.publish(NodeStarted(node.key, time.time(), _worker()))
        started, clock = time.time(), time.monotonic()
        try:
            context = self._context(node, memos)
            workload = load_workload(node.workload)
            result = workload.run(workload.config.model_validate_json(json.dumps(node.config)), context)
            outcome = self._outcome(node, result, time.monotonic() - clock, started)
            files = _files(result, context.history)
            if files:
                self.publish(NodeDone(node.key, self.store.commit_folder(outcome, files), time.time()))
            else:
                self._rows.append((outcome, time.time()))
        except Exception as error:
            failure = Failure(node.key, _last_line(error), traceback.format_exc(), self._meta(started))
            self.store.fail(failure)
            self.publish(NodeFailed(node.key, failure, time.time()))

    def _context(self, node: Node, memos: dict[Hashable, Any]) -> RunContext:
        inputs = {role: load_input(self.store, ref.key, ref.part) for role, ref in node.inputs.items()}

        def on_log(step: int, values: dict[str, float]) -> None:
            self.publish(NodeLogged(node.key, step, values, time.time()))

        return RunContext(node.seed, self.device, self.data_dir, inputs, on_log, memos)

    def _outcome(self, node: Node, result: Result, seconds: float, started: float) -> Outcome:
        return Outcome(
            key=node.key,
            workload=node.workload,
            status=result.outcome,
            metrics={name: float(value) for name, value in result.metrics.items()},
            config=node.config,
            seed=node.seed,
            start=str(node.inputs[result.start]) if isinstance(result.start, str) else None,
            seconds=seconds,
            meta=self._meta(started),
            files={},
        )

    def _meta(self, started: float) -> dict[str, Scalar]:
        return {
            "host": socket.gethostname(),
            "device": self.device,
            "python": platform.python_version(),
            "torch": _torch_version(),
            "started": started,
            "finished": time.time(),
            **self.provenance,
        }

    def _flush(self) -> None:
        self.store.commit_rows([outcome for outcome, _ in self._rows])
        for outcome, finished in self._rows:
            self.publish(NodeDone(outcome.key, outcome, finished))
        self._rows.clear()
        self._flushed = time.monotonic()


def _worker() -> str:
    import os

    return f"{socket.gethostname()}:{os.getpid()}"


@cache
def _torch_version() -> str:
    return version("torch")


def _last_line(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _files(result: Result, history: Sequence[Mapping[str, float]]) -> dict[str, Callable[[Path], None]]:
    """What to write for a result, by file name."""
    files: dict[str, Callable[[Path], None]] = {}
    if result.weights is not None:
        files[WEIGHTS] = partial(_write_tensors, result.weights)
    if isinstance(result.start, Mapping):
        files[START] = partial(_write_tensors, result.start)
    if result.arrays:
        files["arrays.npz"] = partial(_write_arrays, result.arrays)
    if history:
        files["history.parquet"] = partial(_write_history, history)
    return files


def _write_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}, path)


def _write_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    import numpy

    with open(path, "wb") as file:
        numpy.savez_compressed(file, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})


def _write_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    names = sorted({name for row in history for name in row} - {"step"})
    columns = {"step": pyarrow.array([int(row["step"]) for row in history], pyarrow.int64())}
    for name in names:
        columns[name] = pyarrow.array([row.get(name) for row in history], pyarrow.float64())
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
