"""`sweep gc`: shows what no sweep of the store needs, and removes it when it is told to."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from orchestrator.commands.request import data_dir, saved_plans
from orchestrator.errors import StoreError
from orchestrator.planning.outlook import bytes_text
from orchestrator.running.exporting import refuse_unknown
from orchestrator.storage.garbage import Garbage, garbage, remove
from orchestrator.store import Store


def gc_command(request: Namespace) -> int:
    """`sweep gc`: without --yes it asks on a terminal, and elsewhere removes nothing."""
    store = Store.at(request.store).refresh()
    found = _search(store, request)
    if request.json:
        print(json.dumps(_as_json(store, found, request.yes), indent=1))
    else:
        print(_text(store, found))
    if found.counts and (request.yes or _asked(request)):
        remove(store, found)
        if not request.json:
            print("removed")
    return 0


def _search(store: Store, request: Namespace) -> Garbage:
    """What can go.

    Raises:
        StoreError, DataError: what a sweep needs cannot be told.
    """
    plans, lost = saved_plans(store, data_dir(request))
    if lost:
        name, error = next(iter(lost.items()))
        raise StoreError(
            f"sweep {name} cannot be planned, so nobody knows what it needs; nothing is removed. {error}\n"
            f"Mend that, or forget the sweep: remove {store.uri}/sweeps/{name}"
        )
    for plan in plans.values():
        refuse_unknown(plan, plan.nodes, data_dir(request))
    return garbage(store, {key for plan in plans.values() for key in plan.nodes}, plans.keys())


def _asked(request: Namespace) -> bool:
    if request.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    print("remove it? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _as_json(store: Store, found: Garbage, removed: bool) -> dict[str, object]:
    counts = {what: {"count": count, "bytes": size} for what, (count, size) in found.counts.items()}
    paths = [f"{store.uri}/{item.name}" for item in found.waste]
    return {"found": counts, "paths": paths, "drivers": len(found.drivers), "removed": removed and bool(found.counts)}


PLURALS = {
    "node": "nodes with files",
    "row": "rows",
    "failure": "failures",
    "log": "logs of nodes",
    "checkpoint": "checkpoints",
    "damaged": "damaged nodes, set aside",
    "half-written": "half-written nodes",
    "records": "records of no sweep",
}


def _text(store: Store, found: Garbage) -> str:
    lines = [f"{store.uri}: no sweep of it needs"] if found.counts else [f"{store.uri}: its sweeps need all of it"]
    for what, (count, size) in found.counts.items():
        lines.append(f"  {count:>7} {PLURALS[what]:<26} {bytes_text(size):>9}")
    if len(found.counts) > 1:
        lines.append(f"  {'in all':<34} {bytes_text(sum(size for _, size in found.counts.values())):>9}")
    if found.drivers:
        lines.append(f"  {len(found.drivers)} running: what is younger than an hour stays, and all that they compute")
    return "\n".join(lines)
