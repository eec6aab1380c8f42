"""`sweep diff`: two sweeps, or a sweep file and what the store holds."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from orchestrator.commands.request import data_dir, planned, saved_spec, sweep_names
from orchestrator.errors import NotFound, allowed
from orchestrator.plan import plan as make_plan
from orchestrator.planning.difference import Side, difference, difference_text, new_nodes
from orchestrator.storage import index
from orchestrator.store import Store


def diff_command(request: Namespace) -> int:
    """`sweep diff`: trials, fields and nodes; with one argument also what a run of it would compute, and why."""
    store = Store.at(request.store).refresh()
    first = _side(request.first, store, request)
    if request.second is not None:
        told = difference(first, _side(request.second, store, request))
    else:
        name = first.plan.spec.record_name
        held = index.look(store, first.plan.nodes)
        if name in sweep_names(store):
            saved = Side(f"{name}, as the store has it", make_plan(saved_spec(store, name), data_dir(request)))
            told = difference(saved, first)
        else:
            saved = None
            told = difference(Side(f"no sweep {name} in {store.uri}", replace(first.plan, trials=(), nodes={})), first)
        told["new"] = new_nodes(saved.plan if saved else None, first, held)
    print(json.dumps(told, indent=1) if request.json else difference_text(told))
    return 0


def _side(text: str, store: Store, request: Namespace) -> Side:
    """A sweep file, or a sweep of the store.

    Raises:
        NotFound: it is neither.
    """
    path = Path(text)
    if path.is_file():
        request.limit = None
        return Side(text, planned(path, request))
    if text in sweep_names(store):
        return Side(f"{text}, as the store has it", make_plan(saved_spec(store, text), data_dir(request)))
    if path.suffix in (".yaml", ".yml"):
        raise NotFound(f"{text}: no such file")
    names = sweep_names(store)
    raise NotFound(f"{text}: neither a sweep file nor a sweep of {store.uri}; sweeps: {allowed(text, names)}")
