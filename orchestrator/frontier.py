"""The frontier: which nodes are ready, in groups, most unlocking first.

A node is ready when its inputs are finished; it is handed out once it is leased. A group is the nodes of one split
stage, or as many small nodes of a kind as fill about a second, judged by what such nodes have cost so far; or, where
arrays are on, a worker's share of the nodes that can be computed as one array.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.adaptive import Seeds
from orchestrator.events import Event, NodeDone, NodeFailed, NodeSkipped, Observer, TrialsAdded
from orchestrator.index import arrived, batches, known
from orchestrator.leases import Leases
from orchestrator.needs import heights, needed
from orchestrator.node import Node
from orchestrator.store import Failure, Outcome

if TYPE_CHECKING:
    from orchestrator.plan import Plan

GROUP_SECONDS = 1.0  # enough that handing a group out (15 ms) costs nothing, little enough to stay balanced
ELSEWHERE_SECONDS = 1.0  # how often to look for nodes that another driver computes
ATTEMPTS = 3  # how often a node may lose its worker before it counts as failed


@dataclass(frozen=True)
class Group:
    """Nodes that one worker executes: in turn, or together as an array of so many slots (None: the worker's choice)."""

    nodes: tuple[Node, ...]
    together: bool = False
    slots: int | None = None


@dataclass(frozen=True)
class Arrays:
    """Whether nodes are computed as arrays, and of how many slots; None leaves it to the worker."""

    on: bool = False
    slots: int | None = None


@dataclass
class _Cost:
    """Mean seconds of the finished nodes of one kind."""

    total: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass
class Frontier:
    """The state of one run. Not thread-safe: one driver thread hands out and records.

    Args:
        done: The outcomes the store already has.
        slots: How many groups can run at once.
        arrays: Whether nodes are computed together.
        observers: Told of every event after it is recorded here.
    """

    plan: Plan
    done: dict[str, Outcome]
    leases: Leases
    slots: int
    observers: Sequence[Observer] = ()
    arrays: Arrays = Arrays()
    failures: dict[str, Failure] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    executed: int = 0

    def __post_init__(self) -> None:
        self._batches = batches(self.leases.store)
        self._arrived: dict[str, Outcome] = {}
        self.done.update(known(self.leases.store, self.plan.nodes))  # what came in since the caller looked
        self._ended: set[str] = set()  # failed or skipped
        self._seeds = Seeds(self.plan, self.done, self._ended)
        self._open: set[str] = set()
        self._order = {key: position for position, key in enumerate(self.plan.nodes)}
        self._children: dict[str, list[str]] = defaultdict(list)
        self._waiting: dict[str, int] = {}
        self._heap: list[tuple[int, int, int, str]] = []
        self._heights = heights(self.plan)
        self._siblings: dict[str, list[str]] = defaultdict(list)
        self._kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._alike: dict[str | None, dict[str, None]] = defaultdict(dict)
        self._ready: set[str] = set()
        self._running: set[str] = set()
        self._elsewhere: set[str] = set()
        self._looked = 0.0
        self._costs: dict[tuple[str, str], _Cost] = defaultdict(_Cost)
        self._attempts: dict[str, int] = defaultdict(int)
        self._take_up(self._seeds.wanted)

    def _take_up(self, trials: Iterable[int]) -> frozenset[str]:
        """Open what trials need that is not there; returns it."""
        left = needed(self.plan, self.done, [self.plan.trials[index] for index in trials])
        fresh = left - self._open - self._ended
        self._open |= fresh
        for key in sorted(fresh, key=self._order.__getitem__):
            self._siblings[self.plan.nodes[key].siblings].append(key)
            behind = {ref.key for ref in self.plan.nodes[key].inputs.values()} - self.done.keys()
            self._waiting[key] = len(behind)
            for parent in behind:
                self._children[parent].append(key)
            if not behind:
                self._make_ready(key)
        return fresh

    @property
    def finished(self) -> bool:
        return not self._open

    def next(self) -> Group | None:
        """The next group, leased; None while all that is left waits."""
        self._look_elsewhere()
        while self._heap:
            key = heapq.heappop(self._heap)[-1]
            if key not in self._ready:
                continue
            together = self.arrays.on and self.plan.nodes[key].array is not None
            chosen = self._array(key) if together else self._together(key)
            if self._last_attempt(key):  # it may be what ends its workers: nothing else shall fail for that
                chosen = [key]
            if nodes := self._lease(item for item in chosen if item == key or not self._last_attempt(item)):
                return Group(nodes, together, self.arrays.slots)
        return None

    def record(self, event: Event) -> None:
        """Take in what a worker reports, release what it unlocks, tell the observers."""
        if isinstance(event, NodeDone):
            if event.key in self.done:
                return
            self.executed += 1
            self._finish(event.key, event.outcome)
        elif isinstance(event, NodeFailed):
            self.failures[event.key] = event.failure
            self._ended.add(event.key)
            self._close(event.key)
        self._tell(event)
        if isinstance(event, NodeFailed):
            self._skip_dependants(event.key, event.key)
        if isinstance(event, NodeDone | NodeFailed):
            self._grow(event.key)

    def lost(self, group: Group, error: str) -> None:
        """The worker of `group` has ended: what it had committed counts, the rest is tried again."""
        left = [node.key for node in group.nodes if node.key in self._running]
        if not left:
            return
        for key, outcome in known(self.leases.store, left).items():
            self.record(NodeDone(key, outcome, time.time()))
        for key in (key for key in left if key in self._running):
            self._attempts[key] += 1
            if self._attempts[key] >= ATTEMPTS:
                failure = Failure(key, error.strip().splitlines()[-1] if error.strip() else "worker died", error, {})
                self.leases.store.fail(failure)
                self.record(NodeFailed(key, failure, time.time()))
            else:
                self._running.discard(key)
                self.leases.release(key)
                self._make_ready(key)

    def _last_attempt(self, key: str) -> bool:
        return self._attempts.get(key, 0) == ATTEMPTS - 1

    def _tell(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    def _make_ready(self, key: str) -> None:
        self._ready.add(key)
        self._kinds[self._kind(key)].append(key)
        self._alike[self.plan.nodes[key].array][key] = None
        uses = len(self.plan.uses(key))
        heapq.heappush(self._heap, (-self._heights[key], -uses, self._order[key], key))

    def _kind(self, key: str) -> tuple[str, str]:
        node = self.plan.nodes[key]
        return node.stage, node.workload

    def _together(self, first: str) -> list[str]:
        """The ready nodes to hand out with `first`: its siblings, and more of its kind while they are small."""
        chosen = [key for key in self._siblings[self.plan.nodes[first].siblings] if key in self._ready]
        mean = self._costs[self._kind(first)].mean
        if mean is None or mean > GROUP_SECONDS:
            return chosen
        kind = [key for key in self._kinds[self._kind(first)] if key in self._ready]
        self._kinds[self._kind(first)] = kind
        share = -(-len(kind) // (2 * self.slots))
        limit = max(len(chosen), min(share, int(GROUP_SECONDS / max(mean, 1e-4))))
        taken = set(chosen)
        for key in kind:
            if len(chosen) >= limit:
                break
            if key not in taken:
                fresh = [item for item in self._siblings[self.plan.nodes[key].siblings] if item in self._ready]
                chosen += [item for item in fresh if item not in taken]
                taken.update(fresh)
        return chosen

    def _array(self, first: str) -> list[str]:
        """A worker's share of the ready nodes that can be computed together with `first`, those ready longest first."""
        kind = self.plan.nodes[first].array
        self._alike[kind] = {key: None for key in self._alike[kind] if key in self._ready}
        alike = [first, *(key for key in self._alike[kind] if key != first)]
        return alike[: max(-(-len(alike) // self.slots), self.arrays.slots or 1)]

    def _lease(self, keys: Iterable[str]) -> tuple[Node, ...]:
        leased = []
        for key in keys:
            self._ready.discard(key)
            if self.leases.claim(key):
                self._running.add(key)
                leased.append(key)
            else:
                self._elsewhere.add(key)
        self._take(leased)  # another driver may have finished and given back a node since we read the store
        return tuple(self.plan.nodes[key] for key in leased if key in self._running)

    def _take(self, keys: Iterable[str]) -> None:
        """Count as finished what another driver has put into the store."""
        store = self.leases.store
        rows = arrived(store, self._batches)
        self._arrived.update({key: rows[key] for key in rows if key in self._open})
        for key in keys:
            if outcome := self._arrived.pop(key, None) or store.outcome(key):
                self._finish(key, outcome)
                self._tell(NodeDone(key, outcome, time.time()))
                self._grow(key)

    def _look_elsewhere(self) -> None:
        """Take what other drivers have finished; try to lease what they left."""
        if not self._elsewhere or time.monotonic() - self._looked < ELSEWHERE_SECONDS:
            return
        self._looked = time.monotonic()
        parked, self._elsewhere = self._elsewhere, set()
        self._take(parked)
        for key in parked & self._open:
            self._make_ready(key)

    def _finish(self, key: str, outcome: Outcome) -> None:
        self.done[key] = outcome
        cost = self._costs[self._kind(key)]
        cost.total, cost.count = cost.total + outcome.seconds, cost.count + 1
        self.leases.store.forget_failure(key)
        self._close(key)
        for child in self._children[key]:
            self._waiting[child] -= 1
            if self._waiting[child] == 0 and child in self._open:
                self._make_ready(child)

    def _close(self, key: str) -> None:
        self._running.discard(key)
        self._ready.discard(key)
        self._open.discard(key)
        self.leases.release(key)

    def _grow(self, key: str) -> None:
        """Take up the trials that adaptive seeds ask for now that a node has ended."""
        added = self._seeds.after(key)
        if not added:
            return
        fresh = self._take_up(added)
        self._tell(TrialsAdded(tuple(added), fresh, time.time()))
        for item in fresh:  # a failed input will not come
            behind = [ref.key for ref in self.plan.nodes[item].inputs.values() if ref.key in self._ended]
            if behind and item in self._open:
                self._skip_dependants(behind[0], self.skipped.get(behind[0], behind[0]))
                self._grow(item)

    def _skip_dependants(self, key: str, because: str) -> None:
        for child in self._children[key]:
            if child in self._open:
                self._open.discard(child)
                self._ended.add(child)
                self.skipped[child] = because
                self._tell(NodeSkipped(child, because, time.time()))
                self._skip_dependants(child, because)
