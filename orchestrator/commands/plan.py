"""`sweep plan`: what a run would do."""

from __future__ import annotations

import json
from argparse import Namespace

from orchestrator.commands.request import planned, resources_of
from orchestrator.planning.outlook import learnt, outlook, outlook_text
from orchestrator.planning.together import together, together_text
from orchestrator.storage import index
from orchestrator.store import Store


def plan_command(request: Namespace) -> int:
    """`sweep plan`: what a run would do."""
    store, resources = Store.at(request.store).refresh(), resources_of(request)
    plans = [planned(path, request) for path in request.specs]
    shown = []
    for plan in plans:
        held = index.look(store, plan.nodes)
        shown.append(outlook(plan, held, learnt(store, held), resources)[0])
    if len(plans) == 1:
        print(json.dumps(shown[0], indent=1) if request.json else outlook_text(shown[0]))
        return 0
    whole = together(plans, store, resources)
    if request.json:
        print(json.dumps({"sweeps": shown, "together": whole}, indent=1))
    else:
        print("\n\n".join([*map(outlook_text, shown), together_text(whole)]))
    return 0
