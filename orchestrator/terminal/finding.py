"""Which trial a user means by a key."""

from __future__ import annotations

from orchestrator.errors import NotFound, allowed
from orchestrator.plan import Plan, PlannedTrial


def find_trial(plan: Plan, key: str) -> PlannedTrial:
    """The trial with a key, or with a node of that key; the beginning of one will do.

    Raises:
        NotFound: there is none, or several with different keys.
    """
    by_key = [trial for trial in plan.trials if trial.key.startswith(key)]
    by_node = [trial for trial in plan.trials if any(node.startswith(key) for node in trial.nodes.values())]
    if len(by_key) > 1:
        keys = ", ".join(trial.key for trial in by_key[:3])
        raise NotFound(f"{len(by_key)} trials of {plan.spec.record_name} have keys that begin with {key!r}: {keys} ...")
    if not by_key and not by_node:
        keys = [trial.key for trial in plan.trials]
        raise NotFound(f"{plan.spec.record_name} has no trial and no node {key!r}; {allowed(key, keys[:10])}")
    return (by_key or by_node)[0]
