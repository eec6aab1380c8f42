"""`sweep plan` and `sweep status`: what a run would do, and how far sweeps are."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from orchestrator.commands.request import data_dir, planned, resources_of, saved_spec, sweep_names
from orchestrator.errors import SweepError
from orchestrator.plan import plan as make_plan
from orchestrator.planning.outlook import count_plan, learnt, outlook, outlook_text
from orchestrator.storage import index
from orchestrator.store import Store


def plan_command(request: Namespace) -> int:
    """`sweep plan`: what a run would do."""
    store, resources = Store.at(request.store), resources_of(request)
    shown = []
    for path in request.specs:
        plan = planned(path, request)
        held = index.look(store, plan.nodes)
        shown.append(outlook(plan, held, learnt(store, held), resources)[0])
    if request.json:
        print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=1))
    else:
        print("\n\n".join(map(outlook_text, shown)))
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
    described = count_plan(plan, index.look(store, plan.nodes))
    failed = len({path.stem for path in (store.root / "failed").glob("*.json")} & plan.nodes.keys())
    total, done = (sum(stage[count] for stage in described["stages"].values()) for count in ("nodes", "done"))
    line = f"{name}: {described['trials_done']} of {described['trials']} trials, {done} of {total} nodes done"
    return line + (f", {failed} failed" if failed else "")
