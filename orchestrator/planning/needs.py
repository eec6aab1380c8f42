"""What is left of a plan: the nodes to compute, and how much waits for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from orchestrator.planning import adaptive

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial
    from orchestrator.store import Outcome


def needed(plan: Plan, done: Mapping[str, Outcome], trials: Iterable[PlannedTrial] | None = None) -> frozenset[str]:
    """What is left to compute: unfinished targets, and what they need that is not finished either.

    Args:
        trials: Those of the plan that are meant; by default all, or what adaptive seeds ask for so far.
    """
    meant = adaptive.wanted(plan, done).trials if trials is None else trials
    left = {trial.nodes[name] for trial in meant for name in trial.targets}
    found: set[str] = set()
    while left:
        key = left.pop()
        if key not in done and key not in found:
            found.add(key)
            left.update(ref.key for ref in plan.nodes[key].inputs.values())
    return frozenset(found)


def heights(plan: Plan) -> dict[str, int]:
    """How many stages still follow each node, at most: what starts the longest chains goes first."""
    found: dict[str, int] = dict.fromkeys(plan.nodes, 0)
    for key in reversed([*plan.nodes]):
        for ref in plan.nodes[key].inputs.values():
            found[ref.key] = max(found[ref.key], found[key] + 1)
    return found
