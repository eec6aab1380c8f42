"""What goes to one worker together: siblings, small nodes of a kind, or a share of those that are one array."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.planning.node import Node

if TYPE_CHECKING:
    from orchestrator.plan import Plan

GROUP_SECONDS = 1.0  # enough that handing a group out (15 ms) costs nothing, little enough to stay balanced


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


class Grouping:
    """Chooses what to hand out with a node.

    Args:
        slots: How many groups can run at once.

    Attributes:
        ready: The nodes that are ready.
    """

    def __init__(self, plan: Plan, slots: int, arrays: Arrays) -> None:
        self._nodes: Mapping[str, Node] = plan.nodes
        self._slots, self._arrays = slots, arrays
        self.ready: set[str] = set()
        self._siblings: dict[str, dict[str, None]] = defaultdict(dict)
        # Those ready by kind, longest first. An ordered dictionary: a plain one finds its first slowly once many went.
        self._kinds: dict[tuple[str, str], OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._alike: dict[str | None, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._costs: dict[tuple[str, str], _Cost] = defaultdict(_Cost)

    def add(self, key: str) -> None:
        """A node that may become ready."""
        self._siblings[self._nodes[key].siblings][key] = None

    def make_ready(self, key: str) -> None:
        self.ready.add(key)
        self._kinds[self._kind(key)][key] = None
        if self.together(key):
            self._alike[self._nodes[key].array][key] = None

    def leave(self, key: str) -> None:
        """A node is not ready, or no longer."""
        if key in self.ready:
            self.ready.discard(key)
            del self._kinds[self._kind(key)][key]
            self._alike[self._nodes[key].array].pop(key, None)

    def finish(self, key: str, seconds: float) -> None:
        """A node has taken so long."""
        cost = self._costs[self._kind(key)]
        cost.total, cost.count = cost.total + seconds, cost.count + 1

    def together(self, key: str) -> bool:
        return self._arrays.on and self._nodes[key].array is not None

    def choose(self, first: str) -> list[str]:
        """The ready nodes to hand out with `first`, which is one of them."""
        return self._array(first) if self.together(first) else self._in_turn(first)

    def _kind(self, key: str) -> tuple[str, str]:
        node = self._nodes[key]
        return node.stage, node.workload

    def _in_turn(self, first: str) -> list[str]:
        """Its siblings, and more of its kind while they are small."""
        chosen = self._ready_siblings(first)
        mean = self._costs[self._kind(first)].mean
        if mean is None or mean > GROUP_SECONDS:
            return chosen
        kind = self._kinds[self._kind(first)]
        share = -(-len(kind) // (2 * self._slots))
        limit = max(len(chosen), min(share, int(GROUP_SECONDS / max(mean, 1e-4))))
        taken = set(chosen)
        for key in kind:
            if len(chosen) >= limit:
                break
            if key not in taken:
                fresh = self._ready_siblings(key)
                chosen += [item for item in fresh if item not in taken]
                taken.update(fresh)
        return chosen

    def _ready_siblings(self, key: str) -> list[str]:
        return [item for item in self._siblings[self._nodes[key].siblings] if item in self.ready]

    def _array(self, first: str) -> list[str]:
        """A worker's share of those that can be computed together with it, those ready longest first."""
        alike = self._alike[self._nodes[first].array]
        share = max(-(-len(alike) // self._slots), self._arrays.slots or 1)
        others = islice((key for key in alike if key != first), share - 1)
        return [first, *others]
