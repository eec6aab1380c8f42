"""What the frontier is compared with: handing out in turn, and what no order can beat."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from orchestrator.plan import Plan
from orchestrator.running.events import Event, NodeDone, NodeFailed
from orchestrator.running.grouping import Group
from orchestrator.store import Failure, Outcome


class InTurn:
    """The contestant: what is ready is handed out in the order in which it became so, one node after the other."""

    def __init__(self, plan: Plan) -> None:
        self.done: dict[str, Outcome] = {}
        self.failures: dict[str, Failure] = {}
        self.skipped: dict[str, str] = {}
        self._plan = plan
        self._waiting = {key: len({ref.key for ref in node.inputs.values()}) for key, node in plan.nodes.items()}
        self._children: dict[str, list[str]] = {}
        for key, node in plan.nodes.items():
            for parent in {ref.key for ref in node.inputs.values()}:
                self._children.setdefault(parent, []).append(key)
        self._ready = deque(key for key, count in self._waiting.items() if not count)

    @property
    def finished(self) -> bool:
        return len(self.done) + len(self.failures) + len(self.skipped) == len(self._plan.nodes)

    def next(self) -> Group | None:
        return Group((self._plan.nodes[self._ready.popleft()],)) if self._ready else None

    def record(self, event: Event) -> None:
        if isinstance(event, NodeFailed):
            self.failures[event.key] = event.failure
            self._skip(event.key)
        elif isinstance(event, NodeDone):
            self.done[event.key] = event.outcome
            for child in self._children.get(event.key, ()):
                self._waiting[child] -= 1
                if not self._waiting[child]:
                    self._ready.append(child)

    def _skip(self, key: str) -> None:
        for child in self._children.get(key, ()):
            if child not in self.skipped:
                self.skipped[child] = key
                self._skip(child)

    def lost(self, group: Group, error: str) -> None:
        self._ready.extend(
            node.key for node in group.nodes if node.key not in self.done and node.key not in self.failures
        )

    def taken_away(self, group: Group, error: str) -> None:
        self.lost(group, error)


def lower_bound(plan: Plan, ran: Mapping[str, float], gpus: int) -> float:
    """No order ends sooner: the work of all nodes that ran over the GPUs, and the longest chain of them. Seconds."""
    ends: dict[str, float] = {}
    for key, node in plan.nodes.items():  # inputs come first
        if key in ran:
            ends[key] = ran[key] + max((ends[ref.key] for ref in node.inputs.values()), default=0.0)
    return max(sum(ran.values()) / gpus, max(ends.values(), default=0.0))
