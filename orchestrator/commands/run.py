"""`sweep run`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator import index
from orchestrator.adaptive import Seeds
from orchestrator.commands.plan import missing_data
from orchestrator.commands.request import data_dir, planned
from orchestrator.errors import DataError, SweepError
from orchestrator.needs import needed
from orchestrator.plan import Plan
from orchestrator.resources import Resources, refuse_unreachable
from orchestrator.store import Store

if TYPE_CHECKING:
    from orchestrator.progress import Mode

SCREENS: tuple[Mode, ...] = ("plain", "quiet", "json")


def run_command(request: Namespace) -> int:
    """`sweep run`: every sweep in turn; refuses before anything runs."""
    from orchestrator.tracking import target

    if request.inline and (request.address or request.jobs):
        raise SweepError("--inline runs everything in this process: it goes with neither --address nor --jobs")
    plans = [planned(path, request) for path in request.specs]
    store = Store.at(request.store)
    refuse_unreachable(request.address)
    target(store, request.tracking_uri)  # refuses one that holds a password
    _refuse_equal_names(plans)
    for plan in plans:
        _refuse_missing_data(plan, needed(plan, index.known(store, plan.nodes)))
    return max([_run_one(plan, store, request) for plan in plans])


def _run_one(plan: Plan, store: Store, request: Namespace) -> int:
    from orchestrator.closing import closing
    from orchestrator.progress import Progress
    from orchestrator.quiet import quiet
    from orchestrator.run import pack_plan, run_sweep

    resources = Resources(request.jobs, request.gpus, request.address, request.inline, request.array)
    log = store.prepare().sweep_folder(plan.spec.record_name) / "run.log"
    chosen: list[Mode] = [name for name in SCREENS if getattr(request, name)]
    mode = chosen[0] if chosen else "auto"
    done = index.known(store, plan.nodes)
    todo = needed(plan, done)
    packing = str(pack_plan(plan, done, resources)) if todo else ""
    with quiet(log) as screen, Progress(plan, todo, screen, mode, packing, Seeds(plan, done).wanted) as progress:
        print(packing, flush=True)
        summary = run_sweep(plan, store, done, data_dir(request), resources, request.tracking_uri, [progress])
    if mode != "json":
        print(closing(plan, store, summary))
    return 0 if summary.complete else 1


def _refuse_missing_data(plan: Plan, todo: frozenset[str]) -> None:
    if lacking := missing_data(plan, todo):
        raise DataError("\n".join(lacking))


def _refuse_equal_names(plans: Sequence[Plan]) -> None:
    names = [plan.spec.record_name for plan in plans]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SweepError(
            f"two of these sweeps are named {', '.join(twice)}: the second would overwrite the first's records"
        )
