"""`sweep why KEY`: what a node is, who needs it, what its key hashes, and whether it will be computed again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import NotFound
from orchestrator.planning import keys
from orchestrator.storage import index
from orchestrator.storage.leases import Driver, Leases
from orchestrator.store import Failure, Outcome, Store
from orchestrator.terminal.wording import duration
from orchestrator.to_mlflow.naming import flattened
from workloads.contract import load_workload

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.planning.node import Node

SHOWN = 5  # trials, or nodes of the same beginning, that are named; programs get all of them
SHORT = 10  # characters of a key that people get to see


@dataclass(frozen=True)
class Known:
    """The nodes of a store: those that its sweeps need, and those that are there beside.

    Attributes:
        plans: Of the saved sweeps, by name.
        outcomes, failures: By key, of all nodes.
    """

    store: Store
    plans: Mapping[str, Plan]
    data_dir: Path
    outcomes: Mapping[str, Outcome] = field(init=False)
    failures: Mapping[str, Failure] = field(init=False)
    nodes: Mapping[str, Node] = field(init=False)

    def __post_init__(self) -> None:
        failures = {
            path.stem: self.store.failure(path.stem) for path in (self.store.root / "failed").glob("[!.]*.json")
        }
        nodes = {key: node for plan in self.plans.values() for key, node in plan.nodes.items()}
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "outcomes", index.look(self.store, {*index.every(self.store), *nodes}))
        object.__setattr__(self, "failures", {key: item for key, item in failures.items() if item is not None})

    def find(self, prefix: str) -> str:
        """The one key that begins so.

        Raises:
            NotFound: none does, or several.
        """
        everything = {*self.nodes, *self.outcomes, *self.failures}
        found = sorted(key for key in everything if key.startswith(prefix.lower()))
        if len(found) == 1 or prefix in everything:
            return prefix if prefix in everything else found[0]
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            named = ", ".join(f"{key[: max(SHORT, len(prefix) + 2)]} ({self.label(key)})" for key in found[:SHOWN])
            raise NotFound(f"{prefix}: {len(found)} nodes of {self.store.uri} begin so: {named}{more}; say more of it")
        if not everything:
            raise NotFound(f"{prefix}: {self.store.uri} holds no nodes, and no sweep that needs any")
        near = max(sorted(everything), key=lambda key: _common(key, prefix.lower()))
        what = "" if re.fullmatch("[0-9a-f]+", prefix.lower()) else " (keys are made of 0-9 and a-f)"
        raise NotFound(
            f"{prefix}: no node of {self.store.uri} begins so{what}; did you mean {near[:SHORT]} ({self.label(near)})?"
        )

    def label(self, key: str) -> str:
        """The stage of a node; its workload where no sweep needs it."""
        if key in self.nodes:
            return self.nodes[key].label
        return self.outcomes[key].workload if key in self.outcomes else "failed, and needed by no sweep"


def _common(first: str, second: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def explain(known: Known, key: str) -> dict[str, Any]:
    """All there is to say about a node, as JSON values."""
    node, outcome, failure = known.nodes.get(key), known.outcomes.get(key), known.failures.get(key)
    config = node.config if node else outcome.config if outcome else {}
    told: dict[str, Any] = {"key": key, "label": known.label(key)}
    told["workload"] = node.workload if node else outcome.workload if outcome else None
    told["seed"] = node.seed if node else outcome.seed if outcome else None
    told["config"] = _differing(told["workload"], config, known.data_dir)
    told["inputs"] = _inputs(known, node)
    told["needed_by"] = {name: _trials(plan, key) for name, plan in known.plans.items() if key in plan.nodes}
    told["identity"] = _identity(node, known.data_dir)
    told["state"], told["because"] = _state(known, node, outcome, failure, Leases(known.store).holder(key))
    told["will_run"] = told["state"] in ("missing", "failed") and bool(told["needed_by"])
    if outcome:
        told["outcome"] = {"status": outcome.status, "seconds": outcome.seconds, "metrics": _plain(outcome.metrics)}
        told["outcome"] |= {"meta": dict(outcome.meta), "files": sorted(outcome.files)}
    if failure:
        told["failure"] = {"error": failure.error, "meta": dict(failure.meta)}
    return told


def _plain(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no numbers that are not finite."""
    return {name: value if value - value == 0 else str(value) for name, value in metrics.items()}


def _differing(workload: str | None, config: Mapping[str, Any], data_dir: Path) -> dict[str, str]:
    """What of a config differs from the defaults, by dotted path."""
    if workload is None or not config:
        return {}
    try:
        parsed = load_workload(workload).config.model_validate_json(json.dumps(config))
    except (LookupError, TypeError, ValueError):  # of another version, or no longer on the path
        return flattened(config, "")
    return _paths(keys.identity(parsed, data_dir))


def _paths(identity: Mapping[str, Any]) -> dict[str, str]:
    return {path.lstrip("."): text for path, text in flattened(identity, "").items()}


def _inputs(known: Known, node: Node | None) -> dict[str, dict[str, str]]:
    behind = {} if node is None else node.inputs
    return {
        role: {"key": ref.key, "part": ref.part, "label": known.label(ref.key), "state": _short_state(known, ref.key)}
        for role, ref in behind.items()
    }


def _short_state(known: Known, key: str) -> str:
    return "done" if key in known.outcomes else "failed" if key in known.failures else "missing"


def _trials(plan: Plan, key: str) -> dict[str, Any]:
    users = plan.uses(key)
    labels = [plan.trials[index].trial.label for index in users]
    return {"trials": len(users), "of": len(plan.trials), "levels": labels, "stage": plan.nodes[key].label}


def _identity(node: Node | None, data_dir: Path) -> dict[str, Any] | None:
    """What the key hashes; None for a node that no sweep needs, whose inputs nobody knows."""
    if node is None:
        return None
    workload = load_workload(node.workload)
    config = workload.config.model_validate_json(json.dumps(node.config))
    return keys.node_identity(
        workload, config, node.seed, {role: str(ref) for role, ref in node.inputs.items()}, data_dir
    )


def _state(
    known: Known, node: Node | None, outcome: Outcome | None, failure: Failure | None, holder: Driver | None
) -> tuple[str, str]:
    """done | failed | running | waiting | missing, and why it will or will not run (again)."""
    if outcome is not None:
        unneeded = "" if node else "; no sweep of this store needs it: `sweep gc` would remove it"
        return "done", f"it will not run again: it is finished{unneeded}"
    if holder is not None:
        return "running", f"a driver on {holder.host} (pid {holder.pid}) computes it now"
    if node is None:
        return "failed", "it will not run again: no sweep of this store needs it"
    waiting = [known.label(ref.key) for ref in node.inputs.values() if ref.key not in known.outcomes]
    if lacking := [text for plan in known.plans.values() for text in plan.missing_data.get(node.key, ())]:
        return "missing", f"it cannot run: {lacking[0]}"
    if failure is not None:
        return "failed", "the next `sweep run` tries it once more; it failed with: " + failure.error
    if waiting:
        return "waiting", f"it will run when its inputs are there: {', '.join(waiting)}"
    return "missing", "the next `sweep run` computes it: the store has no outcome of this key"


def why_text(told: Mapping[str, Any]) -> str:
    """`explain` for people."""
    lines = [f"{told['label']}  {told['key']}", f"  {told['state']}: {told['because']}"]
    if "outcome" in told:
        lines.append(f"  {_ended(told['outcome'])}")
    lines += _needed(told["needed_by"])
    if told["inputs"]:
        lines.append("  starts from")
        lines += [
            f"    {role:<10} {item['label']} {item['key'][:SHORT]}{'' if item['part'] == 'end' else ', its start'}"
            f" ({item['state']})"
            for role, item in told["inputs"].items()
        ]
    lines.append("  its key hashes" if told["identity"] else "  its config, where it differs from the defaults")
    lines += _hashed(told)
    return "\n".join(lines)


def _ended(outcome: Mapping[str, Any]) -> str:
    meta = outcome["meta"]
    when = meta.get("finished")
    parts = [
        f"{outcome['status']} after {duration(outcome['seconds'])}",
        f"on {meta.get('host')} ({meta.get('device')})",
    ]
    if isinstance(when, int | float):
        parts.append(datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
    metrics = ", ".join(
        f"{name} {value:.4g}" for name, value in outcome["metrics"].items() if not isinstance(value, str)
    )
    return ", ".join([*parts, *([metrics] if metrics else [])])


def _needed(needed: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    if not needed:
        return ["  needed by no sweep of this store"]
    lines = []
    for name, item in needed.items():
        lines.append(f"  needed by {item['trials']} of {item['of']} trials of {name}, as {item['stage']}")
        lines += [f"    {label}" for label in _few(item["levels"])]
    return lines


def _few(texts: Sequence[str]) -> list[str]:
    return [*texts] if len(texts) <= SHOWN else [*texts[: SHOWN - 1], f"and {len(texts) - SHOWN + 1} more"]


def _hashed(told: Mapping[str, Any]) -> list[str]:
    if not told["identity"]:
        found = {"workload": str(told["workload"]), "seed": str(told["seed"]), **told["config"]}
    else:
        whole = dict(told["identity"])
        found = {
            **_paths({"workload": whole.pop("workload"), "seed": whole.pop("seed")}),
            **_paths(whole.pop("config")),
        }
        found |= _paths(whole)
    width = min(32, max(map(len, found)))
    return [f"    {path:<{width}}  {text}" for path, text in found.items()]
