"""Computes a package: what is ready, in groups, until all is done or the time is up.

A result is committed before it is reported, so whatever stops a run loses at most what one node did since its last
checkpoint. An error ends its node and what depends on it, nothing else.
"""

from __future__ import annotations

import platform
import socket
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from workloads.alone.context import Clock, PackagedContext, PackagedInput, Place, Stopped
from workloads.alone.package import Computed, Failed, PackageNode, code_digest
from workloads.alone.request import Request, Work
from workloads.alone.results import Results
from workloads.contract import Ended, Hardware, Job, Result
from workloads.failures import last_line

Say = Callable[[str], None]
SHOWN = 4  # metrics in a line
SHORT = 10  # digits of a key in a line


@dataclass
class Runner:
    """One run of a package.

    Attributes:
        waiting: What is left to do, inputs first; what failed in an earlier run comes last.
        failed, skipped: Why, by key.
        paused: Stopped in this run, with a checkpoint.
    """

    request: Request
    work: Work
    results: Results
    clock: Clock
    say: Say
    places: dict[str, Place] = field(default_factory=dict)
    waiting: dict[str, PackageNode] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    computed: int = 0

    def __post_init__(self) -> None:
        package = self.work.package
        self.users: dict[str, set[str]] = defaultdict(set)  # what starts from a node, at any distance
        for node in reversed(package.nodes):
            for ref in node.inputs.values():
                self.users[ref.key] |= {node.key} | self.users[node.key]
        for item in package.finished:
            self.places[item.key] = Place(item, self.request.package / "inputs" / item.key)
        for node in package.nodes:
            if done := self.results.computed(node.key):
                self.places[node.key] = Place(done, self.results.node(node.key))
        self.reused = sum(node.key in self.places for node in package.nodes)
        left = [node for node in package.nodes if node.key not in self.places]
        self.before = frozenset(node.key for node in left if self.results.failure(node.key).exists())
        self.waiting = {node.key: node for node in sorted(left, key=lambda node: node.key in self.before)}
        self.same_code = package.code.digest == code_digest()
        self.measured = self.results.measured()

    @property
    def unfinished(self) -> int:
        """What is left for another run; what has failed before and was not tried again is not."""
        return sum(not self._behind_a_failure(key) for key in self.waiting)

    def _behind_a_failure(self, key: str) -> bool:
        return any(key == other or key in self.users[other] for other in self.before & self.waiting.keys())

    def summary(self, seconds: float) -> str:
        """The last line."""
        counts = (
            f"{self.computed} computed, {self.reused} reused, {len(self.failed)} failed, {len(self.skipped)} skipped"
        )
        text = f"{len(self.work.package.nodes)} nodes: {counts}, {len(self.waiting)} left in {seconds:.1f} s"
        return text + ("; the time is up: the same command goes on" if self.unfinished else "")

    def run(self) -> None:
        """Compute what can be computed in the time."""
        for key in [*self.places]:
            self._let_go(key)  # as far as an earlier run, or one with another wish, did not
        first = True
        while group := self._next(first):
            first = False
            memos: dict[Hashable, Any] = {}
            contexts = {node.key: self._context(node, memos) for node in group}
            if len(group) > 1 and group[0].array is not None and self._together(group[0]):
                self._run_array(group, contexts)
            else:
                self._run_in_turn(group, contexts)

    def _next(self, first: bool) -> list[PackageNode]:
        """The next nodes to compute, none at the end; the first of a run are taken up however little time there is."""
        for node in self.waiting.values():
            ready = self._ready(node)
            if ready and (first or not self.clock.reached(self.clock.waits.get(_kind(node), 0.0))):
                return [other for other in self.waiting.values() if self._belong(node, other) and self._ready(other)]
        return []

    def _ready(self, node: PackageNode) -> bool:
        return node.key not in self.paused and all(ref.key in self.places for ref in node.inputs.values())

    def _belong(self, node: PackageNode, other: PackageNode) -> bool:
        if node.array is not None and self._together(node):
            return other.array == node.array and other.workload == node.workload
        return other.siblings == node.siblings

    def _together(self, node: PackageNode) -> bool:
        return self.request.together and self.work.parsed[node.key][0].run_array is not None

    def _context(self, node: PackageNode, memos: dict[Hashable, Any]) -> PackagedContext:
        inputs = {
            role: PackagedInput(self.places, self.places[ref.key].finished, ref.part)
            for role, ref in node.inputs.items()
        }
        request, folder = self.request, self.results.work(node.key)
        return PackagedContext(node.seed, request.device, request.data_dir, inputs, memos, folder, self.clock)

    def _run_in_turn(self, group: Sequence[PackageNode], contexts: dict[str, PackagedContext]) -> None:
        for position, node in enumerate(group):
            if position and self.clock.reached(self.clock.waits.get(_kind(node), 0.0)):
                return
            workload, config = self.work.parsed[node.key]
            context, clock = contexts[node.key], time.monotonic()
            context.enter()
            try:
                result: Result | Exception = workload.run(config, context)
            except Exception as error:
                result = error
            self._end(node, context, result, time.monotonic() - clock, 1)

    def _run_array(self, group: Sequence[PackageNode], contexts: dict[str, PackagedContext]) -> None:
        """Compute nodes together; what that leaves without an end, for an error in it, is computed in turn."""
        run_array = self.work.parsed[group[0].key][0].run_array
        assert run_array is not None  # _together() has seen to it
        left = {id(contexts[node.key]): node for node in group}
        jobs = [Job(self.work.parsed[node.key][1], contexts[node.key]) for node in group]
        try:
            for ended in self._until_stopped(run_array(jobs, self._hardware()), contexts):
                node = left.pop(id(ended.job.context))
                self._end(node, contexts[node.key], ended.result, ended.seconds, ended.array)
        except Exception as error:
            self.say(f"an array of {len(group)} failed, its nodes go on one by one: {last_line(error)}")
        self.results.keep_measured(self.measured)
        stopped = self.clock.reached() or any(node.key in self.paused for node in group)
        if left and not stopped:
            again = [node for node in group if node.key in {other.key for other in left.values()}]
            self._run_in_turn(again, {node.key: self._context(node, {}) for node in again})

    def _hardware(self) -> Hardware:
        return Hardware(self.request.device, slots=self.request.slots, measured=self.measured)

    def _until_stopped(self, running: Iterator[Ended], contexts: dict[str, PackagedContext]) -> Iterator[Ended]:
        """What ends, until none is under way and there is no time for another."""
        under_way = dict.fromkeys(map(id, contexts.values()))
        for ended in running:
            under_way.pop(id(ended.job.context))
            stopping = isinstance(ended.result, Stopped) or self.clock.reached()
            yield ended
            if stopping and not any(item.began for item in contexts.values() if id(item) in under_way):
                break
        if isinstance(running, Generator):
            running.close()

    def _end(
        self, node: PackageNode, context: PackagedContext, result: Result | Exception, seconds: float, array: int
    ) -> None:
        context.wait()
        self.clock.waits[_kind(node)] = context.longest
        if isinstance(result, Stopped):
            self.paused.add(node.key)
            return
        if isinstance(result, Result):
            try:
                return self._keep(node, context, result, seconds, array)
            except ValueError as error:  # a result that cannot be written
                result = error
        self._fail(node, context, result)

    def _keep(self, node: PackageNode, context: PackagedContext, result: Result, seconds: float, array: int) -> None:
        computed = Computed(
            key=node.key,
            workload=node.workload,
            config=node.config,
            seed=node.seed,
            metrics={name: float(value) for name, value in result.metrics.items()},
            start=str(node.inputs[result.start]) if isinstance(result.start, str) else None,
            files={},
            status=result.outcome,
            seconds=seconds,
            meta=self._meta(context) | ({"array": array} if array > 1 else {}),
        )
        computed = self.results.commit(computed, result, context.history)
        self.places[node.key] = Place(computed, self.results.node(node.key))
        del self.waiting[node.key]
        self.computed += 1
        for key in (node.key, *(key for key, users in self.users.items() if node.key in users)):
            self._let_go(key)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in [*computed.metrics.items()][:SHOWN])
        self._line(node, f"{seconds:8.2f} s  {result.outcome:<8}  {shown}")

    def _fail(self, node: PackageNode, context: PackagedContext, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.results.fail(Failed(key=node.key, error=last_line(error), traceback=text, meta=self._meta(context)))
        self.failed[node.key] = last_line(error)
        del self.waiting[node.key]
        self._line(node, f"failed: {last_line(error)}")
        for key in [key for key in self.waiting if key in self.users[node.key]]:
            skipped = self.waiting.pop(key)
            self.skipped[key] = node.key
            self._line(skipped, f"skipped: it needs {node.key[:SHORT]} ({node.label}), which failed")

    def _line(self, node: PackageNode, text: str) -> None:
        total = len(self.work.package.nodes)
        self.say(f"[{total - len(self.waiting)}/{total}] {node.key[:SHORT]} {node.label:<24} {text}")

    def _meta(self, context: PackagedContext) -> dict[str, str | int | float | bool | None]:
        code = self.work.package.code
        said = {"resumed_at": context.resumed_at, "checkpoint": context.trouble}
        return {
            "host": socket.gethostname(),
            "device": self.request.device,
            **_gpu(self.request.device),
            "python": platform.python_version(),
            "torch": _torch_version(),
            "started": context.began,
            "finished": time.time(),
            **{name: value for name, value in said.items() if value is not None},
            "commit": code.commit,
            "dirty": code.dirty or not self.same_code,
        }

    def _let_go(self, key: str) -> None:
        """Remove the tensors of a result that nothing needs any more, as the request says."""
        place, users = self.places[key], self.users[key]
        if not isinstance(place.finished, Computed) or not users <= self.places.keys():
            return
        if self.request.weights == "none" or (self.request.weights == "needed" and users):
            self.places[key] = Place(self.results.remove_weights(place.finished), place.folder)


def _kind(node: PackageNode) -> Hashable:
    return node.workload, node.label


@cache
def _gpu(device: str) -> dict[str, str]:
    """Which GPU it is, as `sweep run` records it: an imported result must say what computed it."""
    if not device.startswith("cuda"):
        return {}
    import torch

    return {"gpu": torch.cuda.get_device_name(device)}


@cache
def _torch_version() -> str:
    return version("torch")
