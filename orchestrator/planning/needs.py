"""What is left of a plan: the nodes to compute, and what waits for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from orchestrator.planning import adaptive

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial
    from orchestrator.store import Outcome

SMALL = 0.01  # of the longest chain of a plan


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


def urgencies(plan: Plan, seconds: Mapping[str, float]) -> dict[str, tuple[float, int]]:
    """For each node the longest chain that starts with it: in expected seconds, its own included, and in stages behind.

    What starts the longest chain goes first: it is what the whole sweep would wait for in the end. Chains of equal
    length tie, as do those of which nothing is known: there the number of stages decides.

    What takes next to nothing, such as most measures behind their training, goes before all else (its chain is said to
    be endless): nobody waits for it, and it finishes trials. Else they would all finish in the last minutes.
    """
    behind: dict[str, tuple[float, int]] = dict.fromkeys(plan.nodes, (0.0, 0))
    for key in reversed([*plan.nodes]):
        chain, stages = behind[key]
        behind[key] = chain + seconds.get(key, 0.0), stages
        for ref in plan.nodes[key].inputs.values():
            longest, most = behind[ref.key]
            behind[ref.key] = max(longest, behind[key][0]), max(most, stages + 1)
    small = SMALL * max((chain for chain, _ in behind.values()), default=0.0)
    return {key: (math.inf if chain <= small else chain, stages) for key, (chain, stages) in behind.items()}
