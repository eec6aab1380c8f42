"""What computing the rest of a plan will cost: time, and room in the store.

A node to do costs what finished nodes of its kind did (measured), else what finished nodes of its workload and model
did for each operation (scaled, taken to be right within a factor of 1.5), else its operations at a default speed
(estimated, within a factor of 3). A training that stops when it fits is estimated at the most that it may take.

The spread is a factor: the truth should lie between the figure divided by it and the figure times it. Deviations of
measured kinds are independent and add up by their squares; what is scaled or estimated is wrong all in one direction.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.planning.costs import Costs, Moments, Sample, device_kind, exact_of, family
from orchestrator.terminal.tally import Left

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.planning.node import Node
    from orchestrator.running.resources import Packing

Basis = Literal["measured", "scaled", "estimated", "unknown"]
BASES: tuple[Basis, ...] = ("measured", "scaled", "estimated", "unknown")  # the weaker, the later
FACTORS = {"scaled": 1.5, "estimated": 3.0}
SPEEDS = {"cpu": 5e9, "cuda": 1.5e13}
"""Operations per second of one worker where nothing was measured: small networks in fp32, data loading included."""
SECONDS = 0.05  # what a node takes whose operations are few
ROW_BYTES = 1000  # an outcome without files


@dataclass(frozen=True)
class Cost:
    """What one node is expected to cost.

    Attributes:
        seconds: Wall time on its worker.
        used: Seconds of CPU cores, or of the worker's GPU.
        deviation: Of what one node uses from what the next does.
        count: How many nodes the mean is taken from; 0 where it is not.
        bytes: What it leaves in the store.
    """

    seconds: float
    used: float
    deviation: float
    count: int
    basis: Basis
    bytes: float


@dataclass(frozen=True)
class Total:
    """The cost of several nodes.

    Attributes:
        seconds: Of cores, or of GPUs where there are any.
        spread: A factor of at least 1; None where some of the nodes have no figure at all.
        basis: The weakest of the nodes'.
        at_most: Whether some nodes are estimated at the most that they may take.
    """

    seconds: float = 0.0
    spread: float | None = 1.0
    basis: Basis = "measured"
    at_most: bool = False
    bytes: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What is to come of a plan.

    Attributes:
        stages: By stage.
        whole: All of it.
        wall: Seconds on the workers of `packing`: the sum over the workers, or the longest chain of nodes.
        nodes: Seconds of each node to do, on its worker.
        on_gpu: Whether the seconds of totals are of GPUs.
    """

    stages: Mapping[str, Total]
    whole: Total
    wall: float
    nodes: Mapping[str, float]
    on_gpu: bool

    @property
    def left(self) -> Left | None:
        """The wall time as the live view counts it down; None where nothing is known of it."""
        if self.whole.spread is None:
            return None
        return Left(self.wall, self.wall * (self.whole.spread - 1), False)


class Pricing:
    """Looks up what nodes cost on one kind of device; remembers it for nodes that share a config."""

    def __init__(self, costs: Costs, device: str) -> None:
        self._costs, self._device = costs, device_kind(device)
        self._known: dict[tuple[str, int], Cost] = {}

    def of(self, node: Node) -> Cost:
        """The expected cost of a node."""
        name = node.kind, id(node.config)
        if name not in self._known:
            self._known[name] = self._price(node)
        return self._known[name]

    def _price(self, node: Node) -> Cost:
        kinds = (exact_of(node), node.kind) if node.kind else ()
        for sample in filter(None, (self._costs.of(self._device, kind) for kind in kinds)):
            used, room = self._used(sample), sample.bytes / sample.count
            return Cost(sample.wall.mean, used.mean, used.deviation, sample.count, "measured", room)
        alike = self._costs.of(self._device, family(node.workload, node.config, node.work is not None))
        size = ROW_BYTES if node.work is None else 4 * node.work.numbers + ROW_BYTES
        if alike is not None:
            used, scale = self._used(alike), _scale(alike, node)
            return Cost(alike.wall.mean * scale, used.mean * scale, used.deviation * scale, 0, "scaled", size)
        if node.work is None:
            return Cost(0.0, 0.0, 0.0, 0, "unknown", size)
        seconds = node.work.operations / SPEEDS.get(self._device, SPEEDS["cpu"]) + SECONDS
        threads = 1 if self._device == "cuda" else int(node.config.get("threads", 1))
        return Cost(seconds / threads, seconds, 0.0, 0, "estimated", size)

    def _used(self, sample: Sample) -> Moments:
        return sample.wall if self._device == "cuda" else sample.cpu


def _scale(sample: Sample, node: Node) -> float:
    """The work of a node over that of the mean of a sample, where both have any."""
    if node.work is None or not sample.work:
        return 1.0
    return node.work.operations * sample.count / sample.work


def forecast(plan: Plan, todo: Collection[str], costs: Costs, packing: Packing) -> Forecast:
    """The cost of the nodes `todo` of a plan, on the workers of `packing`."""
    pricing = Pricing(costs, "cuda" if packing.gpus else "cpu")
    nodes = [node for key, node in plan.nodes.items() if key in todo]
    stages = {name: [node for node in nodes if node.stage == name] for name in {node.stage: None for node in nodes}}
    seconds = {node.key: pricing.of(node).seconds for node in nodes}
    wall = max(sum(seconds.values()) / packing.workers, _longest_chain(plan, seconds))
    totals = {name: _total(members, pricing, packing) for name, members in stages.items()}
    return Forecast(totals, _total(nodes, pricing, packing), wall, seconds, packing.gpus > 0)


def _total(nodes: Collection[Node], pricing: Pricing, packing: Packing) -> Total:
    counts: dict[int, int] = {}
    priced: dict[int, Cost] = {}
    share = packing.gpus_per_worker if packing.gpus else 1.0
    at_most = False
    for node in nodes:
        cost = pricing.of(node)
        counts[id(cost)] = counts.get(id(cost), 0) + 1
        priced[id(cost)] = cost
        at_most = at_most or (cost.basis == "estimated" and node.work is not None and node.work.at_most)
    total = variance = together = size = 0.0
    for name, cost in priced.items():
        count, each = counts[name], share * cost.used
        total, size = total + count * each, size + count * cost.bytes
        if cost.basis == "measured":
            variance += (share * cost.deviation) ** 2 * count * (1 + count / cost.count)
        elif cost.basis != "unknown":
            together += count * each * (FACTORS[cost.basis] - 1)
            variance += (share * cost.deviation) ** 2 * count
    basis = BASES[max((BASES.index(cost.basis) for cost in priced.values()), default=0)]
    deviation = math.sqrt(variance + together**2)
    spread = None if basis == "unknown" else 1 + deviation / total if total else 1.0
    return Total(total, spread, basis, at_most, size)


def _longest_chain(plan: Plan, seconds: Mapping[str, float]) -> float:
    """The most seconds of nodes that have to wait for each other."""
    ends: dict[str, float] = {}
    for key, node in plan.nodes.items():  # inputs come first
        if key in seconds:
            ends[key] = seconds[key] + max((ends.get(ref.key, 0.0) for ref in node.inputs.values()), default=0.0)
    return max(ends.values(), default=0.0)
