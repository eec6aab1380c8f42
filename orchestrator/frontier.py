"""The frontier: which nodes are ready, in groups: what starts the longest chain first, then what unlocks most.

A node is ready when its inputs are finished; it is handed out once it is leased.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.planning.adaptive import Seeds
from orchestrator.planning.needs import needed, urgencies
from orchestrator.planning.node import Node
from orchestrator.running.arrivals import URGENT, Arrivals
from orchestrator.running.events import Event, InputDamaged, NodeDone, NodeFailed, NodeSkipped, Observer, TrialsAdded
from orchestrator.running.grouping import Arrays, Group, Grouping
from orchestrator.running.sharing import shared
from orchestrator.storage.index import known
from orchestrator.storage.leases import Leases
from orchestrator.store import Failure, Outcome

if TYPE_CHECKING:
    from orchestrator.plan import Plan

ELSEWHERE_SECONDS = 1.0  # how often to look for nodes that another driver computes
ATTEMPTS = 3  # how often a node may lose its worker, or find an input damaged, before it counts as failed
MACHINES = 20  # how many machines may go under a node before it counts as failed: it may be what ends them
BACKOFF = (0.5, 2.0, 8.0)  # seconds until the next attempt: what ended the worker may pass


@dataclass
class Frontier:
    """The state of one run. Not thread-safe: one driver thread hands out and records.

    Args:
        done: The outcomes the store already has.
        slots: How many groups can run at once.
        arrays: Whether nodes are computed together.
        observers: Told of every event after it is recorded here.
        seconds: What nodes are expected to take; nothing is known of those that are not in it.
        clock: Seconds on a clock that never goes back.

    Attributes:
        damaged: What was wrong with the nodes that are computed again.
    """

    plan: Plan
    done: dict[str, Outcome]
    leases: Leases
    slots: int
    observers: Sequence[Observer] = ()
    arrays: Arrays = Arrays()  # noqa: RUF009 - it is frozen
    seconds: Mapping[str, float] = field(default_factory=dict)
    clock: Callable[[], float] = lambda: time.monotonic()
    failures: dict[str, Failure] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    executed: int = 0

    def __post_init__(self) -> None:
        self._looked, self._arrivals = 0.0, Arrivals(self.leases.store, self.leases.alone)
        self.done.update(known(self.leases.store, self.plan.nodes.keys() - self.done.keys()))
        self._ended: set[str] = set()  # failed or skipped
        self._seeds = Seeds(self.plan, self.done, self._ended)
        self._open, self._running, self._elsewhere = set[str](), set[str](), set[str]()
        self._order = {key: position for position, key in enumerate(self.plan.nodes)}
        self._children: dict[str, dict[str, None]] = defaultdict(dict)
        self._waiting: dict[str, int] = {}
        self._heap: list[tuple[float, int, int, int, str]] = []
        self._urgencies = urgencies(self.plan, self.seconds)
        self._grouping = Grouping(self.plan, self.slots, self.arrays)
        self._attempts, self._machines, self._damages = Counter[str](), Counter[str](), Counter[str]()
        self._delayed: list[tuple[float, str]] = []
        self._take_up(self._seeds.wanted)

    def _take_up(self, trials: Iterable[int]) -> frozenset[str]:
        """Open what trials need that is not there; returns it."""
        left = needed(self.plan, self.done, [self.plan.trials[index] for index in trials])
        return self._open_up(left - self._open - self._ended)

    def _open_up(self, fresh: frozenset[str]) -> frozenset[str]:
        self._open |= fresh
        for key in sorted(fresh, key=self._order.__getitem__):
            self._grouping.add(key)
            self._wait(key)
        return fresh

    def _wait(self, key: str, also: Set[str] = frozenset()) -> None:
        """See what a node waits for: its inputs, and what else it needs as it has turned out; it may be ready."""
        behind = {ref.key for ref in self.plan.nodes[key].inputs.values()}.difference(self.done) | also
        self._waiting[key] = len(behind)
        self._grouping.leave(key)
        self._elsewhere.discard(key)
        for parent in behind:
            self._children[parent][key] = None
        if not behind:
            self._make_ready(key)

    def reopen(self, damaged: Mapping[str, str]) -> None:
        """Compute damaged nodes again, also where nothing waits for them; given what is wrong, by key."""
        for key, error in damaged.items():
            self.tell(InputDamaged(key, key, error, time.time(), self._open_up(self._gone(key))))

    @property
    def finished(self) -> bool:
        return not self._open

    def next(self) -> Group | None:
        """The next group, leased; None while all that is left waits."""
        self._look_elsewhere()
        while self._delayed and self._delayed[0][0] <= self.clock():
            key = heapq.heappop(self._delayed)[1]
            if key in self._open and key not in self._running:  # an input that was computed again has released it
                self._wait(key)
        while self._heap:
            key = heapq.heappop(self._heap)[-1]
            if key not in self._grouping.ready:
                continue
            chosen = self._grouping.choose(key)
            if self._last_attempt(key):  # it may be what ends its workers: nothing else shall fail for that
                chosen = [key]
            if nodes := self._lease(item for item in chosen if item == key or not self._last_attempt(item)):
                return Group(nodes, self._grouping.together(key), self.arrays.slots)
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
        elif isinstance(event, InputDamaged):
            return self._compute_again(event)
        self.tell(event)
        if isinstance(event, NodeFailed):
            self._skip_dependants(event.key, event.key)
        if isinstance(event, NodeDone | NodeFailed):
            self._grow(event.key)

    def lost(self, group: Group, error: str) -> None:
        """The worker of `group` has ended: what it had committed counts, the rest is tried again after a while."""
        for key in self._left(group):
            self._attempts[key] += 1
            if self._attempts[key] >= ATTEMPTS:
                self.fail(key, error.strip().splitlines()[-1] if error.strip() else "worker died", error)
            else:
                self._let_go(key)
                due = self.clock() + BACKOFF[min(self._attempts[key], len(BACKOFF)) - 1]
                heapq.heappush(self._delayed, (due, key))

    def give_back(self, group: Group) -> None:
        """The worker of `group` had to leave: what it had committed counts, the rest is ready as before."""
        for key in self._left(group):
            self._let_go(key)
            self._wait(key)

    def taken_away(self, group: Group, error: str) -> None:
        """The machine of `group` has gone: no fault of its nodes, but of one under which machines go each time."""
        for key in self._left(group):
            self._machines[key] += 1
            if self._machines[key] >= MACHINES:
                self.fail(key, f"{MACHINES} machines went while they computed it", error)
        self.give_back(group)

    def fail(self, key: str, error: str, trace: str) -> None:
        """A node has failed for a reason that its worker cannot report, unless it has been committed meanwhile."""
        if (outcome := self._arrivals.of([key], self._open, URGENT).get(key)) is not None:
            return self.record(NodeDone(key, outcome, time.time()))
        failure = Failure(key, error, trace, {})
        self.leases.store.fail(failure)
        self.record(NodeFailed(key, failure, time.time()))

    def _left(self, group: Group) -> list[str]:
        """What of a group has not ended."""
        left = [node.key for node in group.nodes if node.key in self._running]
        for key, outcome in self._arrivals.of(left, self._open, URGENT).items() if left else ():
            self.record(NodeDone(key, outcome, time.time()))
        return [key for key in left if key in self._running]

    def _let_go(self, key: str) -> None:
        self._running.discard(key)
        self.leases.release(key)

    def _compute_again(self, event: InputDamaged) -> None:
        """Open a damaged node, and what it needs that is gone too; what starts from it waits for it again."""
        key, damaged = event.key, event.damaged
        hopeless = damaged not in self.plan.nodes or damaged in self._ended
        fresh = frozenset() if hopeless else self._gone(damaged)
        if hopeless or self._damages[damaged] > ATTEMPTS:
            return self.fail(key, event.error, event.error)
        self._let_go(key)
        for lost in fresh:
            self.done.pop(lost, None)
            self.damaged[damaged] = event.error
        opened = self._open_up(fresh)
        for child in self._open - self._running - opened - {key}:
            if any(ref.key in fresh for ref in self.plan.nodes[child].inputs.values()):
                self._wait(child)
        self._wait(key, also={damaged} & self._open)
        self.tell(replace(event, nodes=opened))

    def _gone(self, damaged: str) -> frozenset[str]:
        """A damaged node and what it needs to be computed again; nothing where that is under way, or has been done."""
        if damaged in self._open or damaged in self._ended or self.leases.store.outcome(damaged) is not None:
            return frozenset()
        self._damages[damaged] += 1
        found, left = {damaged}, [damaged]
        while left:
            missing = {ref.key for ref in self.plan.nodes[left.pop()].inputs.values()} - self.done.keys() - found
            found |= missing
            left += missing
        return frozenset(found - self._open - self._ended)

    def _last_attempt(self, key: str) -> bool:
        return self._attempts[key] == ATTEMPTS - 1

    def tell(self, event: Event) -> None:
        """Tell the observers of something that changes nothing here, or has."""
        for observer in self.observers:
            observer(event)

    def _make_ready(self, key: str) -> None:
        self._grouping.make_ready(key)
        seconds, stages = self._urgencies[key]
        heapq.heappush(self._heap, (-seconds, -stages, -len(self.plan.uses(key)), self._order[key], key))

    def _lease(self, keys: Iterable[str]) -> tuple[Node, ...]:
        chosen = [*keys]
        for key in chosen:
            self._grouping.leave(key)
        leased = self.leases.claim_all(chosen)
        self._running.update(leased)
        self._elsewhere.update(set(chosen).difference(leased))
        self._take(leased)  # another driver may have finished and given back a node since we read the store
        return tuple(self.plan.nodes[key] for key in leased if key in self._running)

    def _take(self, keys: Collection[str]) -> None:
        """Count as finished what another driver has put into the store."""
        for key, outcome in self._arrivals.of(keys, self._open).items():
            self._finish(key, outcome)
            self.tell(NodeDone(key, outcome, time.time()))
            self._grow(key)

    def _look_elsewhere(self) -> None:
        """Take what other drivers have finished; try to lease what they left."""
        if not self._elsewhere or self.clock() - self._looked < ELSEWHERE_SECONDS:
            return
        self._looked = self.clock()
        parked, self._elsewhere = self._elsewhere, set()
        self._take(parked)
        for key in parked & self._open:
            self._make_ready(key)

    def _finish(self, key: str, outcome: Outcome) -> None:
        self.done[key] = shared(outcome, self.plan.nodes[key])
        self._grouping.finish(key, outcome.seconds)
        self.leases.store.forget_failure(key)
        self._close(key)
        for child in self._children[key]:
            self._waiting[child] -= 1
            if self._waiting[child] == 0 and child in self._open:
                self._make_ready(child)

    def _close(self, key: str) -> None:
        self._running.discard(key)
        self._grouping.leave(key)
        self._open.discard(key)
        self._arrivals.forget(key)
        self.leases.release(key)

    def _grow(self, key: str) -> None:
        """Take up the trials that adaptive seeds ask for now that a node has ended."""
        added = self._seeds.after(key)
        if not added:
            return
        fresh = self._take_up(added)
        self.tell(TrialsAdded(tuple(added), fresh, time.time()))
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
                self.tell(NodeSkipped(child, because, time.time()))
                self._skip_dependants(child, because)
