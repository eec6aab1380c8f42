"""One group of nodes, in turn or as an array: inputs -> workload -> store. In a Ray worker or the caller's process.

A node is committed before it is reported, so a reported node is never lost. Failures are reported, not raised.
"""

from __future__ import annotations

import json
import platform
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator import calibration
from orchestrator.context import START, WEIGHTS, RunContext, load_input
from orchestrator.events import Event, NodeDone, NodeFailed, NodeLogged, NodeStarted
from orchestrator.frontier import Group
from orchestrator.node import Node
from orchestrator.store import Failure, Outcome, Scalar, Store
from workloads.contract import SHIPPED, Ended, Hardware, Job, Result, load_workload

Running = dict[int, tuple[Node, RunContext]]  # by the identity of the context
BATCH_SECONDS = 0.25  # outcomes without files are committed together: with the first node that ends so much later


@dataclass
class Executor:
    """Runs nodes in turn on one device and publishes what happens.

    Args:
        provenance: What every outcome's meta should say of the code: commit, dirty.
        share: The part of the device that is this worker's.
    """

    store: Store
    data_dir: Path
    device: str
    provenance: Mapping[str, Scalar]
    publish: Callable[[Event], None]
    share: float = 1.0
    _rows: list[tuple[Outcome, RunContext, float]] = field(default_factory=list)
    _flushed: float = 0.0

    def run(self, group: Group) -> None:
        """Execute a group; its nodes share what they memoize."""
        if group.nodes[0].workload in SHIPPED:
            _import_libraries()
        memos: dict[Hashable, Any] = {}
        self._flushed = time.monotonic()
        if group.together:
            self._run_array(group, memos)
        else:
            for node in group.nodes:
                self._run_one(node, memos)
        self._flush()

    def _run_one(self, node: Node, memos: dict[Hashable, Any]) -> None:
        context: RunContext | None = None
        try:
            workload = load_workload(node.workload)  # before the clock starts: it may import much
            clock = time.monotonic()
            context = self._context(node, memos)
            context.begin()
            result = workload.run(workload.config.model_validate_json(json.dumps(node.config)), context)
            self._commit(node, context, result, time.monotonic() - clock, 1)
        except Exception as error:
            self._fail(node, context, error)

    def _run_array(self, group: Group, memos: dict[Hashable, Any]) -> None:
        """All nodes of the group together; what is left when the array has ended, for an error in it, has failed."""
        running: Running = {}
        try:
            self._until_ended(group, memos, running)
            error: Exception = RuntimeError(f"{group.nodes[0].workload}: run_array ended without this job")
        except Exception as raised:
            error = raised
        for node, context in running.values():
            self._fail(node, context, error)

    def _until_ended(self, group: Group, memos: dict[Hashable, Any], running: Running) -> None:
        """Each node is committed as it ends, and fails by itself; `running` has those that have not ended."""
        jobs: list[Job] = []
        for node in group.nodes:
            try:
                workload = load_workload(node.workload)
                context = self._context(node, memos)
                jobs.append(Job(workload.config.model_validate_json(json.dumps(node.config)), context))
                running[id(context)] = node, context
            except Exception as error:
                self._fail(node, None, error)
        run_array = load_workload(group.nodes[0].workload).run_array if jobs else None
        if run_array is None:
            return
        hardware = Hardware(self.device, group.slots, self._memory(), calibration.measured(self.store))
        known = dict(hardware.measured)
        try:
            for ended in run_array(jobs, hardware):
                if id(ended.job.context) not in running:
                    raise RuntimeError(f"{group.nodes[0].workload}: run_array ended a job twice, or a strange one")
                self._end(*running.pop(id(ended.job.context)), ended)
        finally:
            new = {kind: rates for kind, rates in hardware.measured.items() if known.get(kind) != rates}
            calibration.keep(self.store, new)

    def _end(self, node: Node, context: RunContext, ended: Ended) -> None:
        """Commit or fail one node of an array, before the next is asked for: others may start from it."""
        context.begin()  # of one that never asked for anything
        if isinstance(ended.result, Exception):
            return self._fail(node, context, ended.result)
        try:
            self._commit(node, context, ended.result, ended.seconds, ended.array)
            self._flush()
        except Exception as error:
            self._fail(node, context, error)

    def _memory(self) -> int | None:
        """This worker's share of its device; None for all that is free."""
        if self.share >= 1 or not self.device.startswith("cuda"):
            return None
        import torch

        return int(torch.cuda.mem_get_info(self.device)[1] * self.share)

    def _commit(self, node: Node, context: RunContext, result: Result, seconds: float, array: int) -> None:
        outcome = self._outcome(node, context, result, seconds, array)
        if files := files_of(result, context.history):
            committed = self.store.commit_folder(outcome, files)
            shutil.rmtree(context.folder, ignore_errors=True)
            self.publish(NodeDone(node.key, committed, time.time()))
        else:
            self._rows.append((outcome, context, time.time()))
        if self._rows and time.monotonic() - self._flushed > BATCH_SECONDS:
            self._flush()

    def _fail(self, node: Node, context: RunContext | None, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        failure = Failure(node.key, _last_line(error), text, self._meta(context))
        self.store.fail(failure)
        self.publish(NodeFailed(node.key, failure, time.time()))

    def _context(self, node: Node, memos: dict[Hashable, Any]) -> RunContext:
        inputs = {role: load_input(self.store, ref.key, ref.part) for role, ref in node.inputs.items()}

        def on_log(step: int, values: dict[str, float]) -> None:
            self.publish(NodeLogged(node.key, step, values, time.time()))

        def on_begin() -> None:
            self.publish(NodeStarted(node.key, time.time(), _worker()))

        folder = self.store.work_folder(node.key)
        return RunContext(node.seed, self.device, self.data_dir, inputs, on_log, memos, folder, on_begin)

    def _outcome(self, node: Node, context: RunContext, result: Result, seconds: float, array: int) -> Outcome:
        return Outcome(
            key=node.key,
            workload=node.workload,
            status=result.outcome,
            metrics={name: float(value) for name, value in result.metrics.items()},
            config=node.config,
            seed=node.seed,
            start=str(node.inputs[result.start]) if isinstance(result.start, str) else None,
            seconds=seconds,
            meta=self._meta(context) | ({"array": array} if array > 1 else {}),
            files={},
        )

    def _meta(self, context: RunContext | None) -> dict[str, Scalar]:
        now = time.time()
        said = {} if context is None else {"resumed_at": context.resumed_at, "checkpoint": context.trouble}
        return {
            "host": socket.gethostname(),
            "device": self.device,
            "python": platform.python_version(),
            "torch": _torch_version(),
            "started": now if context is None or context.began is None else context.began,
            "finished": now,
            **{name: value for name, value in said.items() if value is not None},
            **self.provenance,
        }

    def _flush(self) -> None:
        self.store.commit_rows([outcome for outcome, *_ in self._rows])
        for outcome, context, finished in self._rows:
            shutil.rmtree(context.folder, ignore_errors=True)
            self.publish(NodeDone(outcome.key, outcome, finished))
        self._rows.clear()
        self._flushed = time.monotonic()


@cache
def _import_libraries() -> None:
    """Before any clock starts: the first node of a process does not pay for what all of them use."""
    import safetensors.torch
    import torch

    assert safetensors.torch
    torch.nn.Linear(1, 1, device="meta").to_empty(device="cpu")  # torch puts off half a second's imports until then


def _worker() -> str:
    import os

    return f"{socket.gethostname()}:{os.getpid()}"


@cache
def _torch_version() -> str:
    return version("torch")


def _last_line(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def files_of(result: Result, history: Sequence[Mapping[str, float]]) -> dict[str, Callable[[Path], None]]:
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
