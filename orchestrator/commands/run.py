"""`sweep run`."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.commands.request import data_dir, planned, refuse_equal_names, resources_of
from orchestrator.errors import DataError, SweepError
from orchestrator.plan import Plan
from orchestrator.planning.adaptive import Seeds
from orchestrator.planning.needs import needed
from orchestrator.planning.outlook import learnt, missing_data, outlook, outlook_text
from orchestrator.running.resources import refuse_unreachable
from orchestrator.storage import index
from orchestrator.store import Outcome, Store

if TYPE_CHECKING:
    from orchestrator.planning.forecast import Forecast
    from orchestrator.progress import Mode

SCREENS: tuple[Mode, ...] = ("plain", "quiet", "json")
GPU_HOURS = 1.0  # more than so many are not spent without being asked for


def run_command(request: Namespace) -> int:
    """`sweep run`: every sweep in turn; refuses before anything runs."""
    from orchestrator.tracking import target

    if request.inline and (request.address or request.jobs):
        raise SweepError("--inline runs everything in this process: it goes with neither --address nor --jobs")
    if request.on and not request.address:
        raise SweepError("--on LABEL=VALUE chooses among the machines of a Ray that runs: it goes with --address")
    plans = [planned(path, request) for path in request.specs]
    store = Store.at(request.store).refresh()
    if request.only is not None:
        return _run_only(plans, store, request)
    refuse_unreachable(request.address)
    target(store, request.tracking_uri)  # refuses one that holds a password
    refuse_equal_names(plans)
    helds = [index.look(store, plan.nodes) for plan in plans]
    for plan, held in zip(plans, helds, strict=True):
        _refuse_missing_data(plan, needed(plan, held))
    resources = resources_of(request)
    outlooks = [outlook(plan, held, learnt(store, held), resources) for plan, held in zip(plans, helds, strict=True)]
    _show([shown for shown, _ in outlooks], request)
    if not _wanted([shown for shown, _ in outlooks], request):
        print("nothing was started")
        return 0
    codes = []
    for plan, held, (_, coming) in zip(plans, helds, outlooks, strict=True):
        # What the sweeps before have made is there for those behind.
        done = index.known(store, plan.nodes) if codes else dict(held)
        codes.append(_run_one(plan, store, done, coming, request))
    return max(codes)


def _run_only(plans: Sequence[Plan], store: Store, request: Namespace) -> int:
    """`--only KEY`: one trial; its output is on the screen, and the records are those of the whole plan."""
    from orchestrator.run import compute_trial, save_spec
    from orchestrator.terminal.failures import failure_text
    from orchestrator.terminal.finding import find_trial

    if len(plans) != 1 or not request.inline:
        raise SweepError("--only KEY runs one trial of one sweep in this process: it needs --inline, and one SPEC")
    plan = plans[0]
    trial = find_trial(plan, request.only)
    done = index.known(store, plan.nodes)
    _refuse_missing_data(plan, frozenset(trial.nodes.values()) - done.keys())
    if not store.sweep_folder(plan.spec.record_name).exists():
        save_spec(plan, store.prepare())
    left = [key for key in dict.fromkeys(trial.nodes.values()) if key not in done]
    print(f"trial {trial.key}: {len(left)} of {len(set(trial.nodes.values()))} nodes to run", flush=True)
    failures = compute_trial(plan, trial, store.prepare(), done, data_dir(request), resources_of(request))
    for key, failure in failures.items():
        print(failure_text(plan, key, failure.error, store), file=sys.stderr)
    return 1 if failures else 0


def _run_one(plan: Plan, store: Store, done: dict[str, Outcome], coming: Forecast, request: Namespace) -> int:
    from orchestrator.progress import Progress
    from orchestrator.run import pack_plan, run_sweep
    from orchestrator.terminal.closing import closing, closing_fields
    from orchestrator.terminal.quiet import quiet

    resources = resources_of(request)
    log = store.prepare().sweep_folder(plan.spec.record_name) / "run.log"
    mode = _mode(request)
    todo = needed(plan, done)
    packing = str(pack_plan(plan, done, resources)) if todo else ""
    with quiet(log) as screen, Progress(plan, todo, screen, mode, packing, Seeds(plan, done).wanted, store) as progress:
        progress.tally.expected = coming.left
        print(packing, flush=True)
        summary = run_sweep(plan, store, done, data_dir(request), resources, request.tracking_uri, [progress])
    store.publish(log)
    if mode == "json":
        fields = closing_fields(plan, store, summary, progress.tally)
        print(json.dumps({"event": "sweep_closed", "time": time.time(), "sweep": plan.spec.record_name, **fields}))
    else:
        print(closing(plan, store, summary, progress.tally, time.time()))
    return 0 if summary.complete else 1


def _mode(request: Namespace) -> Mode:
    chosen: list[Mode] = [name for name in SCREENS if getattr(request, name)]
    return chosen[0] if chosen else "auto"


def _show(outlooks: Sequence[Mapping[str, Any]], request: Namespace) -> None:
    """What is to come, before anything runs."""
    mode = _mode(request)
    for shown in outlooks:
        if mode == "json":
            print(json.dumps({"event": "sweep_planned", "time": time.time(), "sweep": shown["name"], **shown}))
        elif mode != "quiet":
            print(outlook_text(shown), end="\n\n", flush=True)


def _wanted(outlooks: Sequence[Mapping[str, Any]], request: Namespace) -> bool:
    """Whether to go on: yes, but for more GPU time than is spent unasked, where there is somebody to ask."""
    hours = sum(shown["forecast"]["gpu_hours"] for shown in outlooks)
    if hours <= GPU_HOURS or request.yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    print(f"This will take about {hours:.3g} GPU-hours; go on? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _refuse_missing_data(plan: Plan, todo: frozenset[str]) -> None:
    if lacking := missing_data(plan, todo):
        raise DataError("\n".join(lacking))
