"""A node: a stage with a resolved config and resolved inputs; the unit that is computed once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.sweepfile.inputs import Part
from workloads.work import Work


@dataclass(frozen=True)
class InputRef:
    """The node behind a role, and whether its final or its initial weights are meant."""

    key: str
    part: Part

    def __str__(self) -> str:
        return self.key if self.part == "end" else f"{self.key}.{self.part}"


@dataclass(frozen=True)
class Node:
    """A stage with a resolved config and resolved inputs.

    Attributes:
        key: Hash of exactly what determines the outcome.
        stage: The first stage that named it; for people only.
        part: Which of a split stage's nodes it is (a measure's name), else None.
        config: The full resolved config as JSON values.
        siblings: Equal for the nodes that one stage was split into: they run together.
        array: Equal for the nodes that can be computed as one array; None for those that cannot.
        kind: Equal for the nodes that should cost about the same: all that differ in seed and rates only.
        work: How much it is to compute; None if its workload does not say.
        time_limit: Seconds that it may run; None for as long as it takes. The longest of the stages that share it.
    """

    key: str
    stage: str
    part: str | None
    workload: str
    config: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, InputRef]
    siblings: str
    array: str | None = None
    kind: str = ""
    work: Work | None = None
    time_limit: float | None = None

    @property
    def label(self) -> str:
        return f"{self.stage}.{self.part}" if self.part else self.stage
