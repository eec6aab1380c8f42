"""Machines with GPUs, simulated event by event: a virtual clock, nobody sleeps and nothing is computed.

Whoever hands out groups is driven as a run drives it: outcomes are committed before they are reported, reports come in
every few seconds, and groups are taken up wherever a GPU is free. A machine can be taken away and come back, a worker
can die and a node can fail; all of it is drawn by node and by machine, so that two who hand out meet the same.
"""

from __future__ import annotations

import heapq
import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy

from orchestrator.plan import Plan
from orchestrator.planning.node import Node
from orchestrator.running.events import Event, NodeDone, NodeFailed
from orchestrator.running.grouping import Group
from orchestrator.store import Failure, Outcome

TICK = 5.0  # seconds between two reports to whoever hands out
STILL = 1000  # reports in a row with nothing under way, after which nothing ever will be
FAILED = "ValueError: it was drawn to fail"
CHECKPOINT = 60.0  # seconds between two checkpoints of a node: what a machine that goes takes with it, at most


class Dispatcher(Protocol):
    """Who hands out groups, as the simulation needs it."""

    done: dict[str, Outcome]
    failures: dict[str, Failure]
    skipped: dict[str, str]

    @property
    def finished(self) -> bool: ...
    def next(self) -> Group | None: ...
    def record(self, event: Event) -> None: ...
    def lost(self, group: Group, error: str) -> None: ...
    def taken_away(self, group: Group, error: str) -> None: ...


@dataclass
class Clock:
    """Virtual seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Fate:
    """What will happen to each node, whoever hands it out.

    Attributes:
        seconds: How long it takes.
        failing: It raises at its end, each time.
        crashing: It loses its worker so far into its first attempt, as a share of its length.
    """

    seconds: Mapping[str, float]
    failing: frozenset[str]
    crashing: Mapping[str, float]

    @classmethod
    def drawn(cls, plan: Plan, expected: Mapping[str, float], seed: int, failing: float, crashing: float) -> Fate:
        """Lengths around those expected, a factor of about 1.3 up or down; failures and crashes of so many nodes."""
        keys = [*plan.nodes]
        streams = [numpy.random.default_rng([seed, purpose]) for purpose in range(4)]
        factors = streams[0].lognormal(-(0.3**2) / 2, 0.3, len(keys))
        fails, crashes, when = (stream.random(len(keys)) for stream in streams[1:])
        return cls(
            {key: expected[key] * float(factor) for key, factor in zip(keys, factors, strict=True)},
            frozenset(key for key, draw in zip(keys, fails, strict=True) if draw < failing),
            {key: float(at) for key, draw, at in zip(keys, crashes, when, strict=True) if draw < crashing},
        )


@dataclass(frozen=True)
class Machines:
    """How many there are, and how they come and go.

    Attributes:
        hours: Mean time until a machine is taken away; 0 for never.
        away: Seconds until another stands in its place.
    """

    count: int
    gpus: int
    hours: float = 0.0
    away: float = 300.0
    seed: int = 0


@dataclass
class Trace:
    """What happened.

    Attributes:
        makespan: Seconds until the last node had ended.
        tail: When for the first time fewer nodes were left than GPUs.
        busy, there: GPU-seconds until the tail in which a GPU was at work, in which it was there.
        used: GPU-seconds in all, with those that were lost.
        started: Which nodes began when, in order.
    """

    makespan: float = 0.0
    tail: float | None = None
    busy: float = 0.0
    there: float = 0.0
    used: float = 0.0
    taken_away: int = 0
    crashed: int = 0
    groups: int = 0
    started: list[tuple[float, str]] = field(default_factory=list, repr=False)

    @property
    def utilization(self) -> float:
        return self.busy / self.there if self.there else 1.0


@dataclass
class _Job:
    """A group on a GPU: which of its nodes is under way, and since when."""

    group: Group
    machine: int
    place: int = 0
    since: float = 0.0


class Simulation:
    """Runs what `dispatcher` hands out on `machines` to its end.

    Args:
        outcome: The outcome of a node that took so many seconds.
        commit: Puts outcomes and failures into the store; what it returns is reported.
    """

    def __init__(
        self,
        plan: Plan,
        dispatcher: Dispatcher,
        clock: Clock,
        machines: Machines,
        fate: Fate,
        outcome: Callable[[Node, float], Outcome],
        commit: Callable[[Sequence[Outcome], Sequence[Failure]], Sequence[Outcome]],
    ) -> None:
        self._plan, self._dispatcher, self._clock, self._machines, self._fate = plan, dispatcher, clock, machines, fate
        self._outcome, self._commit = outcome, commit
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._free = deque(machine for _ in range(machines.gpus) for machine in range(machines.count))
        self._jobs: dict[int, _Job] = {}
        self._away: set[int] = set()
        self._ended: list[tuple[Node, float]] = []  # since the last report
        self._idle: list[int] = []  # the machines of the GPUs that have got free since
        self._crashed: set[str] = set()
        self._still = 0
        self._kept: dict[str, float] = {}  # seconds of a node that its checkpoint spares
        self.trace = Trace()

    def run(self) -> Trace:
        """To the end of the plan."""
        draws = numpy.random.default_rng([self._machines.seed, 9])
        if self._machines.hours:
            for machine in range(self._machines.count):
                self._at(draws.exponential(3600 * self._machines.hours), self._take_away, machine, draws)
        self._at(0.0, self._report)
        while not self._dispatcher.finished:
            time, _, happen = heapq.heappop(self._events)
            self._pass(time)
            happen()
        self.trace.makespan = self._clock.now
        return self.trace

    def _at(self, time: float, happen: Callable[..., None], *arguments: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, lambda: happen(*arguments)))

    def _pass(self, time: float) -> None:
        """Let the clock go on."""
        trace, span = self.trace, time - self._clock.now
        there = self._machines.gpus * (self._machines.count - len(self._away))
        trace.used += span * len(self._jobs)
        if trace.tail is None:
            trace.busy, trace.there = trace.busy + span * len(self._jobs), trace.there + span * there
        self._clock.now = time

    def _tell(self) -> None:
        """What has ended goes to the store, and then to whoever hands out."""
        ended, self._ended = self._ended, []
        failing = self._fate.failing
        outcomes = [self._outcome(node, took) for node, took in ended if node.key not in failing]
        failures = {node.key: Failure(node.key, FAILED, FAILED, {}) for node, _ in ended if node.key in failing}
        # They come from other processes: nothing of them is shared with what is here.
        for outcome in pickle.loads(pickle.dumps(self._commit(outcomes, [*failures.values()]))):
            self._dispatcher.record(NodeDone(outcome.key, outcome, self._clock.now))
        for key, failure in failures.items():
            self._dispatcher.record(NodeFailed(key, failure, self._clock.now))

    def _report(self) -> None:
        """Every few seconds: tell what has ended, and give something to whoever is free."""
        self._tell()
        idle, self._idle = self._idle, []
        self._free.extend(machine for machine in idle if machine not in self._away)
        while self._free and (group := self._dispatcher.next()) is not None:
            self._start(group, self._free.popleft())
        known = self._dispatcher
        left = len(self._plan.nodes) - len(known.done) - len(known.failures) - len(known.skipped)
        if self.trace.tail is None and left < self._machines.count * self._machines.gpus:
            self.trace.tail = self._clock.now
        self._still = 0 if self._jobs else self._still + 1
        if self._still > STILL:
            raise AssertionError(f"{left} nodes are left and none of them is handed out")
        self._at(self._clock.now + TICK, self._report)

    def _start(self, group: Group, machine: int) -> None:
        self._count += 1
        number = self._count
        self._jobs[number] = _Job(group, machine)
        self.trace.groups += 1
        self._begin(number)

    def _begin(self, number: int) -> None:
        """The next node of a group; behind the last one its GPU is free."""
        job = self._jobs[number]
        if job.place == len(job.group.nodes):
            del self._jobs[number]
            self._idle.append(job.machine)
            return
        node, now = job.group.nodes[job.place], self._clock.now
        missing = [ref.key for ref in node.inputs.values() if ref.key not in self._dispatcher.done]
        if missing or node.key in self._dispatcher.done:
            raise AssertionError(f"{node.key} was handed out {'before its input ' if missing else 'twice '}{missing}")
        self.trace.started.append((now, node.key))
        job.since = now
        length = self._fate.seconds[node.key] - self._kept.get(node.key, 0.0)
        if node.key in self._fate.crashing and node.key not in self._crashed:
            self._crashed.add(node.key)
            self._at(now + length * self._fate.crashing[node.key], self._crash, number)
        else:
            self._at(now + length, self._end, number, job.place)

    def _end(self, number: int, place: int) -> None:
        job = self._jobs.get(number)
        if job is None:  # it was taken away meanwhile
            return
        node = job.group.nodes[place]
        self._ended.append((node, self._fate.seconds[node.key]))
        job.place += 1
        self._begin(number)

    def _interrupt(self, number: int) -> _Job:
        """A job ends in the middle of a node: what its last checkpoint has is spared."""
        job = self._jobs.pop(number)
        key = job.group.nodes[job.place].key
        self._kept[key] = self._kept.get(key, 0.0) + (self._clock.now - job.since) // CHECKPOINT * CHECKPOINT
        return job

    def _crash(self, number: int) -> None:
        if number not in self._jobs:
            return
        job = self._interrupt(number)
        self.trace.crashed += 1
        self._tell()
        self._idle.append(job.machine)
        self._dispatcher.lost(job.group, "the worker process ended")

    def _take_away(self, machine: int, draws: numpy.random.Generator) -> None:
        gone = [number for number, job in self._jobs.items() if job.machine == machine]
        jobs = [self._interrupt(number) for number in gone]
        self.trace.taken_away += 1
        self._tell()
        self._away.add(machine)
        self._free = deque(other for other in self._free if other != machine)
        for job in jobs:
            self._dispatcher.taken_away(job.group, "its node has died")
        self._at(self._clock.now + self._machines.away, self._bring_back, machine, draws)

    def _bring_back(self, machine: int, draws: numpy.random.Generator) -> None:
        self._away.discard(machine)
        self._free.extend([machine] * self._machines.gpus)
        self._at(self._clock.now + draws.exponential(3600 * self._machines.hours), self._take_away, machine, draws)
