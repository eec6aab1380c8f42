"""`sweep why`: one node."""

from __future__ import annotations

import json
from argparse import Namespace

from orchestrator.commands.request import data_dir, saved_plans
from orchestrator.planning.why import Known, explain, why_text
from orchestrator.store import Store


def why_command(request: Namespace) -> int:
    """`sweep why`: what a node is, who needs it, why it will or will not run again."""
    store = Store.at(request.store).refresh()
    plans, lost = saved_plans(store, data_dir(request))
    known = Known(store, plans, data_dir(request))
    told = explain(known, known.find(request.key))
    if request.json:
        print(json.dumps({**told, "not_planned": lost}, indent=1))
        return 0
    print(why_text(told))
    for name, error in lost.items():
        print(f"  sweep {name} cannot be planned any more, and may need it too: {error}")
    return 0
