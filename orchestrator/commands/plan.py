"""`sweep plan`: what a run would do."""

from __future__ import annotations

import json
from argparse import Namespace

from orchestrator.commands.request import planned, resources_of
from orchestrator.planning.outlook import learnt, outlook, outlook_text
from orchestrator.storage import index
from orchestrator.store import Store


def plan_command(request: Namespace) -> int:
    """`sweep plan`: what a run would do."""
    store, resources = Store.at(request.store).refresh(), resources_of(request)
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
