"""What is said of a trial that failed: its levels, why, and how to look into it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from orchestrator.findings.levels import level_text, short_names
from orchestrator.plan import Plan
from orchestrator.store import Store


def failure_text(plan: Plan, key: str, error: str, store: Store) -> str:
    """The levels of the first trial with the node, the reason in a line, and the command that runs it alone."""
    uses = plan.uses(key)
    if not uses:
        return f"{plan.nodes[key].label} {key[:10]}: {error}"
    levels = plan.trials[uses[0]].trial.levels
    short = short_names(levels)
    shown = " ".join(f"{short.get(name, name)}={level_text(label)}" for name, label in levels.items())
    others = f", and {len(uses) - 1} more trials with this node" if len(uses) > 1 else ""
    return f"failed: {shown}{others}: {plan.nodes[key].label}: {error}\n  {debug_command(plan, key, store)}"


def debug_command(plan: Plan, key: str, store: Store) -> str:
    """The command that runs the trial of a node alone, in one process, with a debugger where it fails."""
    spec = plan.spec
    words = ["sweep", "run", str(spec.document.path)]
    words += ["--scale", spec.scale] if spec.scale else []
    for path, value in spec.overrides.items():
        words += ["--set", f"{path}={json.dumps(value)}"]
    words += [] if store.root == Path("runs").absolute() else ["--store", store.uri]
    return shlex.join([*words, "--only", key[:10], "--inline", "--debug"])
