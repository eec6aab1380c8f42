"""A worker with its group, as the driver hears of it: what it has under way, and since when."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.planning.node import Node
from orchestrator.running.events import Event, InputDamaged, NodeDone, NodeFailed, NodeStarted
from orchestrator.running.grouping import Group

SILENCE = 30.0  # seconds; a worker is heard of every second


@dataclass
class Crew:
    """One group at work.

    Attributes:
        worker: Ray's handle of the process; None until it works.
        name: Ray's name of it, in its messages.
        heard: When it was last heard of, on the monotonic clock.
        excused: It was told to leave: what it does not finish counts against no node.
    """

    group: Group
    worker: Any = None
    name: str = ""
    heard: float = 0.0
    excused: bool = False
    begun: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def hear(self, events: Iterable[Event]) -> None:
        """Take in what it reports."""
        self.heard = time.monotonic()
        for event in events:
            if isinstance(event, NodeStarted):
                self.begun[event.key] = self.heard
            elif isinstance(event, NodeDone | NodeFailed | InputDamaged):
                self.begun.pop(event.key, None)
                self.ended.add(event.key)

    def overdue(self) -> Node | None:
        """A node that has had more time than it may have, if there is one."""
        if self.worker is None or self.excused:
            return None
        now = time.monotonic()
        for node in self.group.nodes:
            seconds = node.time_limit
            if seconds is None or node.key in self.ended:
                continue
            # A silent worker may have begun a node and had no chance to say so.
            since = self.begun.get(node.key, None if self.begun else self.heard + SILENCE)
            if since is not None and now - since > seconds:
                return node
        return None


def last_words(error: str) -> str:
    """What Ray says of a worker that has ended, and a last line that says it in short."""
    memory = any(word in error for word in ("OutOfMemory", "low on memory", "OOM"))
    why = "out of host memory: Ray ended the worker process" if memory else "the worker process ended"
    return f"{error}\n{why} before the node was finished"


def machine_gone(error: str) -> bool:
    """Whether Ray says that a worker has ended because its whole machine has: taken away, or cut off for long."""
    return "its node has died" in error
