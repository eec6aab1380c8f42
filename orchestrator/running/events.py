"""What happens to nodes, as frozen values. Published on the driver, in order, to observers that never wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.store import Failure, Outcome


@dataclass(frozen=True)
class NodeStarted:
    """A worker began a node; `time` is in unix seconds, as everywhere here."""

    key: str
    time: float
    worker: str


@dataclass(frozen=True)
class NodeLogged:
    """A running node logged values at a step."""

    key: str
    step: int
    values: Mapping[str, float]
    time: float


@dataclass(frozen=True)
class NodeSampled:
    """How busy the machine of a long node is; `step` counts the samples of the node."""

    key: str
    step: int
    values: Mapping[str, float]
    time: float


@dataclass(frozen=True)
class NodeDone:
    """A node is committed."""

    key: str
    outcome: Outcome
    time: float


@dataclass(frozen=True)
class NodeFailed:
    """A node's workload raised, or its worker died too often."""

    key: str
    failure: Failure
    time: float


@dataclass(frozen=True)
class NodeSkipped:
    """A node cannot run because the node `because` failed."""

    key: str
    because: str
    time: float


@dataclass(frozen=True)
class TrialsAdded:
    """Adaptive seeds ask for more trials (indices of the plan) and for the nodes that these lack."""

    trials: tuple[int, ...]
    nodes: frozenset[str]
    time: float


@dataclass(frozen=True)
class InputDamaged:
    """A node found the node `damaged`, from which it starts, not to be what was written; it waits until it is again.

    Attributes:
        nodes: What is computed again for it; the frontier says.
    """

    key: str
    damaged: str
    error: str
    time: float
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StopAsked:
    """The run was asked to stop, or cannot go on: nothing more begins, what is under way is kept."""

    why: str
    time: float


@dataclass(frozen=True)
class NoRoom:
    """Nothing is under way, and no machine has room for a worker: one may join, or what is asked for is nowhere."""

    why: str
    time: float


Event = (
    NodeStarted
    | NodeLogged
    | NodeSampled
    | NodeDone
    | NodeFailed
    | NodeSkipped
    | TrialsAdded
    | InputDamaged
    | StopAsked
    | NoRoom
)
Observer = Callable[[Event], None]
