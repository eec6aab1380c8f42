"""One group of nodes, in turn or as an array: inputs -> workload -> store. In a Ray worker or the caller's process.

A node is committed before it is reported, so a reported node is never lost. Failures are reported, not raised; where
the store takes nothing any more no node is to blame, and that is raised.
"""

from __future__ import annotations

import json
import platform
import socket
import time
import traceback
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.context import RunContext, load_input
from orchestrator.planning.costs import Clock, note_of
from orchestrator.planning.node import Node
from orchestrator.running.events import Event, InputDamaged, NodeDone, NodeFailed, NodeLogged, NodeStarted
from orchestrator.running.files import files_of
from orchestrator.running.gauges import Gauges
from orchestrator.running.grouping import Group
from orchestrator.running.limits import TimeLimit
from orchestrator.running.provenance import processor
from orchestrator.running.stopping import Interrupted, Leaving
from orchestrator.storage import calibration
from orchestrator.storage.nodelog import Printed
from orchestrator.storage.writing import NotWritable
from orchestrator.store import Damaged, Failure, Outcome, Scalar, Store
from workloads.contract import Ended, Hardware, Job, Result, load_workload
from workloads.failures import last_line

Running = dict[int, tuple[Node, RunContext]]  # by the identity of the context
Failing = Exception | TimeLimit | SystemExit  # what fails a node; a workload that exits is not to end the run
BATCH_SECONDS = 0.25  # outcomes without files are committed together: with the first node that ends so much later


@dataclass
class Executor:
    """Runs nodes in turn on one device and publishes what happens.

    Args:
        provenance: What every outcome's meta should say of the code: commit, dirty.
        share: The part of the device that is this worker's.
        asked: Whether this worker is to leave.
        debugger: Called with the error of a node that has failed, after that is kept.
    """

    store: Store
    data_dir: Path
    device: str
    provenance: Mapping[str, Scalar]
    publish: Callable[[Event], None]
    share: float = 1.0
    asked: Callable[[], bool] = bool
    debugger: Callable[[BaseException], None] | None = None
    _rows: list[tuple[Outcome, float]] = field(default_factory=list)
    _flushed: float = 0.0
    _printed: Printed | None = None

    def run(self, group: Group) -> None:
        """Execute a group; its nodes share what they memoize.

        Raises:
            Interrupted: it was asked to leave; what could be kept of the rest is kept.
            NotWritable: the store takes nothing any more.
        """
        _import_libraries()
        memos: dict[Hashable, Any] = {}
        self._leaving = Leaving(self.asked)
        self._flushed = time.monotonic()
        self._clock = Clock()
        self._gauges = Gauges(self.device, self.publish)
        try:
            with self._gauges:
                if group.together:
                    self._run_array(group, memos)
                else:
                    for node in group.nodes:
                        self._run_one(node, memos)
        finally:
            self._flush()

    def _run_one(self, node: Node, memos: dict[Hashable, Any]) -> None:
        context: RunContext | None = None
        self._printed = Printed.now()
        try:
            workload = load_workload(node.workload)  # before the clock starts: it may import much
            self._clock = Clock()
            context = self._context(node, memos)
            context.begin()
            result = workload.run(workload.config.model_validate_json(json.dumps(node.config)), context)
            self._commit(node, context, result, self._clock.seconds, 1)
        except (Exception, TimeLimit, SystemExit) as error:
            self._fail(node, context, error)
        finally:
            self._leaving.end(id(context))

    def _run_array(self, group: Group, memos: dict[Hashable, Any]) -> None:
        """All nodes of the group together; what is left when the array has ended, for an error in it, has failed."""
        running: Running = {}
        self._printed = Printed.now()
        try:
            self._until_ended(group, memos, running)
            error: Failing = RuntimeError(f"{group.nodes[0].workload}: run_array ended without this job")
        except TimeLimit as late:  # the others are taken up again
            for node, context in running.values():
                if node.key == late.key:
                    self._fail(node, context, late)
            return
        except NotWritable:
            raise
        except (Exception, SystemExit) as raised:
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
                if self._leaving.ready:
                    raise Interrupted
        finally:
            new = {kind: rates for kind, rates in hardware.measured.items() if known.get(kind) != rates}
            calibration.keep(self.store, new)

    def _end(self, node: Node, context: RunContext, ended: Ended) -> None:
        """Commit or fail one node of an array, before the next is asked for: others may start from it."""
        try:
            context.begin()  # of one that never asked for anything
            if isinstance(ended.result, Exception):
                raise ended.result
            self._commit(node, context, ended.result, ended.seconds, ended.array)
            self._flush()
        except Exception as error:
            self._fail(node, context, error)
        finally:
            self._leaving.end(id(context))

    def _memory(self) -> int | None:
        """What of this worker's share of its device is usable; None for all that is free."""
        if self.share >= 1 or not self.device.startswith("cuda"):
            return None
        import torch

        from workloads.training.memory import USABLE

        return int(torch.cuda.mem_get_info(self.device)[1] * self.share * USABLE)

    def _commit(self, node: Node, context: RunContext, result: Result, seconds: float, array: int) -> None:
        self._gauges.end(node.key)
        self._keep_log(node)
        outcome = self._outcome(node, context, result, seconds, array)
        if files := files_of(result, context.history, context.artifacts()):
            committed = self.store.commit_folder(outcome, files)
            self.store.forget_work(node.key)
            self.publish(NodeDone(node.key, committed, time.time()))
        else:
            self._rows.append((outcome, time.time()))
        if self._rows and time.monotonic() - self._flushed > BATCH_SECONDS:
            self._flush()

    def _fail(self, node: Node, context: RunContext | None, error: Failing) -> None:
        if isinstance(error, NotWritable):
            raise error
        if isinstance(error, Damaged):
            self.store.set_aside(error.key)
            self.publish(InputDamaged(node.key, error.key, str(error), time.time()))
            return
        self._gauges.end(node.key)
        self._keep_log(node)
        text = "".join(traceback.format_exception(error))
        failure = Failure(node.key, _last_line(error), text, self._meta(context))
        self.store.fail(failure)
        self.publish(NodeFailed(node.key, failure, time.time()))
        if self.debugger is not None:
            self.debugger(error)

    def _keep_log(self, node: Node) -> None:
        """What was printed since the node, or the array that it is of, began."""
        if self._printed is not None:
            self._printed.keep(self.store, node.key)

    def _context(self, node: Node, memos: dict[Hashable, Any]) -> RunContext:
        inputs = {role: load_input(self.store, ref.key, ref.part) for role, ref in node.inputs.items()}

        def on_log(step: int, values: dict[str, float]) -> None:
            self.publish(NodeLogged(node.key, step, values, time.time()))
            self._gauges.deliver()

        def on_begin() -> None:
            self.publish(NodeStarted(node.key, time.time(), _worker()))
            self._gauges.begin(node.key)

        take_up, keep = partial(self.store.take_up, node.key), partial(self.store.keep_work, node.key)
        work = self.store.work_folder(node.key), on_begin, self._leaving, take_up, keep
        return RunContext(node.seed, self.device, self.data_dir, inputs, on_log, memos, *work)

    def _outcome(self, node: Node, context: RunContext, result: Result, seconds: float, array: int) -> Outcome:
        cost = note_of(node, self._clock.cores * seconds)
        return Outcome(
            key=node.key,
            workload=node.workload,
            status=result.outcome,
            metrics={name: float(value) for name, value in result.metrics.items()},
            config=node.config,
            seed=node.seed,
            start=str(node.inputs[result.start]) if isinstance(result.start, str) else None,
            seconds=seconds,
            meta=self._meta(context) | cost | ({"array": array} if array > 1 else {}),
            files={},
        )

    def _meta(self, context: RunContext | None) -> dict[str, Scalar]:
        now = time.time()
        said = {} if context is None else {"resumed_at": context.resumed_at, "checkpoint": context.trouble}
        return {
            "host": socket.gethostname(),
            "device": self.device,
            **_hardware(self.device),
            "python": platform.python_version(),
            "torch": _torch_version(),
            "started": now if context is None or context.began is None else context.began,
            "finished": now,
            **{name: value for name, value in said.items() if value is not None},
            **self.provenance,
        }

    def _flush(self) -> None:
        self.store.commit_rows([outcome for outcome, *_ in self._rows])
        for outcome, finished in self._rows:
            self.store.forget_work(outcome.key)
            self.publish(NodeDone(outcome.key, outcome, finished))
        self._rows.clear()
        self._flushed = time.monotonic()


@cache
def _import_libraries() -> None:
    """Before any clock starts: the first node of a process does not pay for what all of them use.

    A time limit that came in the middle of it would leave this process with a torch that cannot be imported again.
    """
    import safetensors.torch  # and with it torch

    assert safetensors.torch


def _worker() -> str:
    import os

    return f"{socket.gethostname()}:{os.getpid()}"


@cache
def _hardware(device: str) -> dict[str, Scalar]:
    """What kind of GPU or of CPU the device is."""
    if not device.startswith("cuda"):
        return {"cpu": processor()}
    import torch

    return {"gpu": torch.cuda.get_device_name(device)}


@cache
def _torch_version() -> str:
    return version("torch")


def _last_line(error: Failing) -> str:
    return str(error) if isinstance(error, TimeLimit) else last_line(error)
