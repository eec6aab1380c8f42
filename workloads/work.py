"""How much a node is to compute, whatever computes it: what a forecast starts from where nothing was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """The size of a node.

    Attributes:
        operations: Floating-point operations of the whole node; a multiplication and an addition are two.
        numbers: How many float32 numbers it leaves in the store.
        at_most: Whether it may end before it has done all of that, as a training does that stops when it fits.
    """

    operations: float
    numbers: int = 0
    at_most: bool = False
