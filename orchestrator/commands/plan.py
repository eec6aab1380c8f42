"""`sweep plan` and `sweep status`: what a run would do, and how far sweeps are."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import index
from orchestrator.adaptive import wanted
from orchestrator.commands.request import data_dir, planned, saved_spec, sweep_names
from orchestrator.errors import SweepError
from orchestrator.needs import needed
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.store import Outcome, Store


def plan_command(request: Namespace) -> int:
    """`sweep plan`: what a run would do."""
    store = Store.at(request.store)
    shown = []
    for path in request.specs:
        plan = planned(path, request)
        done = index.known(store, plan.nodes)
        shown.append(describe_plan(plan, done))
    if request.json:
        print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=1))
    else:
        print("\n\n".join(_plan_text(item) for item in shown))
    return 0


def status_command(request: Namespace) -> int:
    """`sweep status`: from the saved specs and the store, never from what a driver believes."""
    store = Store.at(request.store)
    names = [request.name] if request.name else sweep_names(store)
    if not names:
        print(f"no sweeps in {store.root}")
    for name in names:
        try:
            print(_status_line(store, name, data_dir(request)))
        except (SweepError, LookupError, TypeError) as error:  # such as a workload that is not on the path from here
            if request.name:
                raise SweepError(f"{name}: {error}") from error
            print(f"{name}: {error}")
    return 0


def _status_line(store: Store, name: str, data_dir: Path) -> str:
    plan = make_plan(saved_spec(store, name), data_dir)
    described = describe_plan(plan, index.known(store, plan.nodes))
    failed = sum(store.failure(key) is not None for key in plan.nodes)
    total, done = (sum(stage[count] for stage in described["stages"].values()) for count in ("nodes", "done"))
    line = f"{name}: {described['trials_done']} of {described['trials']} trials, {done} of {total} nodes done"
    return line + (f", {failed} failed" if failed else "")


def describe_plan(plan: Plan, done: Mapping[str, Outcome]) -> dict[str, Any]:
    """Per stage its nodes, their uses by trials, and how many are done; a stage's parts are counted one by one."""
    plan = wanted(plan, done)
    todo = needed(plan, done)
    stages: dict[str, dict[str, int]] = {}
    for key, node in plan.nodes.items():
        stage = stages.setdefault(node.stage, {"nodes": 0, "uses": 0, "done": 0, "to_do": 0})
        stage["nodes"] += 1
        stage["uses"] += len(plan.uses(key))
        stage["done"] += key in done
        stage["to_do"] += key in todo
    finished = sum(all(trial.nodes[name] in done for name in trial.targets) for trial in plan.trials)
    return {
        "name": plan.spec.record_name,
        "trials": len(plan.trials),
        "trials_done": finished,
        "stages": stages,
        "missing_data": missing_data(plan, todo),
    }


def missing_data(plan: Plan, todo: frozenset[str]) -> list[str]:
    """What the nodes to do lack, each sentence once."""
    return [
        *dict.fromkeys(sentence for key in plan.nodes if key in todo for sentence in plan.missing_data.get(key, ()))
    ]


def _plan_text(described: Mapping[str, Any]) -> str:
    lines = [f"{described['name']}: {described['trials']} trials, {described['trials_done']} done", ""]
    lines.append(f"  {'stage':<20} {'nodes':>7} {'uses':>7} {'done':>7} {'to do':>7}")
    for stage, count in described["stages"].items():
        lines.append(f"  {stage:<20} {count['nodes']:>7} {count['uses']:>7} {count['done']:>7} {count['to_do']:>7}")
    lines += [f"  missing: {sentence}" for sentence in described["missing_data"]]
    return "\n".join(lines)
