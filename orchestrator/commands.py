"""What each command does: reads the request, calls the parts in the order of the flow, prints."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import index, record
from orchestrator.errors import DataError, NotFound, SweepError, allowed
from orchestrator.frontier import needed
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.resources import Resources, refuse_unreachable
from orchestrator.spec import SweepSpec, parse_set, read
from orchestrator.store import Outcome, Store

if TYPE_CHECKING:
    from orchestrator.progress import Mode

SCREENS: tuple[Mode, ...] = ("plain", "quiet", "json")


def run_command(request: Namespace) -> int:
    """`sweep run`: every sweep in turn; refuses before anything runs."""
    from orchestrator.tracking import target

    if request.inline and (request.address or request.jobs):
        raise SweepError("--inline runs everything in this process: it goes with neither --address nor --jobs")
    plans = [_plan(path, request) for path in request.specs]
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
    with quiet(log) as screen, Progress(plan, todo, screen, mode, packing) as progress:
        print(packing, flush=True)
        summary = run_sweep(plan, store, done, _data_dir(request), resources, request.tracking_uri, [progress])
    if mode != "json":
        print(closing(plan, store, summary))
    return 0 if summary.complete else 1


def plan_command(request: Namespace) -> int:
    """`sweep plan`: what a run would do."""
    store = Store.at(request.store)
    shown = []
    for path in request.specs:
        plan = _plan(path, request)
        done = index.known(store, plan.nodes)
        shown.append(_describe_plan(plan, done))
    if request.json:
        print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=1))
    else:
        print("\n\n".join(_plan_text(item) for item in shown))
    return 0


def status_command(request: Namespace) -> int:
    """`sweep status`: from the saved specs and the store, never from what a driver believes."""
    store = Store.at(request.store)
    names = [request.name] if request.name else _sweeps(store)
    if not names:
        print(f"no sweeps in {store.root}")
    for name in names:
        try:
            print(_status_line(store, name, _data_dir(request)))
        except (SweepError, LookupError, TypeError) as error:  # such as a workload that is not on the path from here
            if request.name:
                raise SweepError(f"{name}: {error}") from error
            print(f"{name}: {error}")
    return 0


def _status_line(store: Store, name: str, data_dir: Path) -> str:
    plan = make_plan(saved_spec(store, name), data_dir)
    described = _describe_plan(plan, index.known(store, plan.nodes))
    failed = sum(store.failure(key) is not None for key in plan.nodes)
    total, done = (sum(stage[count] for stage in described["stages"].values()) for count in ("nodes", "done"))
    line = f"{name}: {described['trials_done']} of {described['trials']} trials, {done} of {total} nodes done"
    return line + (f", {failed} failed" if failed else "")


def table_command(request: Namespace) -> int:
    """`sweep table`: the tables of a sweep from its records."""
    from orchestrator import tables
    from orchestrator.render import render

    store = Store.at(request.store)
    spec = saved_spec(store, request.name)
    records = record.read(store.records_folder(request.name))
    if request.table is not None and request.table not in spec.tables:
        raise NotFound(f"{request.name} has no table {request.table!r}; {allowed(request.table, spec.tables)}")
    wanted = [item for name, item in spec.tables.items() if request.table in (None, name)]
    made = [tables.table(item, records, store.sweep_folder(request.name)) for item in wanted]
    if request.format == "parquet":
        _write_parquet(made, request.output)
        return 0
    text = "\n\n".join(render(item, request.format).rstrip("\n") for item in made) + "\n"
    if request.output:
        _write_output(request.output, text.encode())
    else:
        sys.stdout.write(text)
    return 0


def claims_command(request: Namespace) -> int:
    """`sweep claims`: the verdicts; exit code 1 if one is refuted."""
    from orchestrator.claims import judge, render_verdicts

    store = Store.at(request.store)
    spec = saved_spec(store, request.name)
    records = record.read(store.records_folder(request.name))
    verdicts = [judge(claim, records) for claim in spec.claims.values()]
    print(render_verdicts(verdicts, "json" if request.json else "text"))
    return 1 if any(verdict.verdict == "refuted" for verdict in verdicts) else 0


def export_command(request: Namespace) -> int:
    """`sweep export`: what is missing, for a machine without Ray and MLflow."""
    from orchestrator.exporting import export

    plans = [_plan(path, request) for path in request.specs]
    print(export(plans, Store.at(request.store), request.folder, _data_dir(request)))
    return 0


def import_command(request: Namespace) -> int:
    """`sweep import`: what that machine computed, into the store."""
    from orchestrator.importing import import_results

    print(import_results(request.folders, Store.at(request.store)))
    return 0


def list_command(request: Namespace) -> int:
    """`sweep list`: what there is to use in a sweep."""
    from orchestrator.catalogue import catalogue

    found = catalogue(Store.at(request.store))
    for kind, things in found.items():
        if request.kind in (None, kind):
            print(f"{kind}:" if request.kind is None else "", end="\n" if request.kind is None else "")
            for name, says in things.items():
                print(f"  {name:<22} {says}".rstrip())
    return 0


def data_command(request: Namespace) -> int:
    """`sweep data check`: exit code 2 if a data set that was asked for is missing or damaged."""
    from workloads.datasets.check import check, names

    if request.name is not None and request.name not in names():
        raise NotFound(f"no data set {request.name!r}; {allowed(request.name, names())}")
    states = [check(name, _data_dir(request)) for name in names() if request.name in (None, name)]
    for state in states:
        print(state)
    if request.name and not all(state.ready for state in states):
        raise DataError(f"{request.name} is not ready in {_data_dir(request)}")
    return 0


def ui_command(request: Namespace) -> int:
    """`sweep ui`: serves the store's MLflow until interrupted."""
    from orchestrator.tracking import ui as serve

    return serve(Store.at(request.store), request.port)


def sync_command(request: Namespace) -> int:
    """`sweep sync`: sends what the tracker's spool still holds."""
    from orchestrator.tracking import sync as send

    return send(Store.at(request.store), request.tracking_uri)


def saved_spec(store: Store, name: str) -> SweepSpec:
    """The spec of a sweep that this store has run.

    Raises:
        NotFound: there is none of that name.
    """
    folder = store.sweep_folder(name)
    if name not in _sweeps(store):
        raise NotFound(f"{store.root} holds no sweep {name!r}; {allowed(name, _sweeps(store))}")
    saved = json.loads((folder / "plan.json").read_text())
    return read(folder / "spec.yaml", saved["scale"], saved["set"])


def _plan(path: Path, request: Namespace) -> Plan:
    from orchestrator.check import check

    overrides = dict(parse_set(text) for text in request.set)
    spec = read(path, request.scale, overrides)
    check(spec)
    return make_plan(spec, _data_dir(request), request.limit)


def _data_dir(request: Namespace) -> Path:
    return Path(request.data or os.environ.get("SWEEP_DATA") or "data").expanduser()


def _refuse_missing_data(plan: Plan, todo: frozenset[str]) -> None:
    if lacking := _missing_data(plan, todo):
        raise DataError("\n".join(lacking))


def _missing_data(plan: Plan, todo: frozenset[str]) -> list[str]:
    """What the nodes to do lack, each sentence once."""
    return [
        *dict.fromkeys(sentence for key in plan.nodes if key in todo for sentence in plan.missing_data.get(key, ()))
    ]


def _refuse_equal_names(plans: Sequence[Plan]) -> None:
    names = [plan.spec.record_name for plan in plans]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SweepError(
            f"two of these sweeps are named {', '.join(twice)}: the second would overwrite the first's records"
        )


def _sweeps(store: Store) -> list[str]:
    return sorted(path.parent.name for path in (store.root / "sweeps").glob("*/plan.json"))


def _describe_plan(plan: Plan, done: Mapping[str, Outcome]) -> dict[str, Any]:
    """Per stage its nodes, their uses by trials, and how many are done; a stage's parts are counted one by one."""
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
        "missing_data": _missing_data(plan, todo),
    }


def _plan_text(described: Mapping[str, Any]) -> str:
    lines = [f"{described['name']}: {described['trials']} trials, {described['trials_done']} done", ""]
    lines.append(f"  {'stage':<20} {'nodes':>7} {'uses':>7} {'done':>7} {'to do':>7}")
    for stage, count in described["stages"].items():
        lines.append(f"  {stage:<20} {count['nodes']:>7} {count['uses']:>7} {count['done']:>7} {count['to_do']:>7}")
    lines += [f"  missing: {sentence}" for sentence in described["missing_data"]]
    return "\n".join(lines)


def _write_parquet(made: Iterable[Any], output: Path | None) -> None:
    import pyarrow.parquet

    from orchestrator.tables import to_arrow

    items = [*made]
    if output is None or len(items) != 1:
        raise SweepError(
            "--format parquet writes one table to a file: give --output FILE, and --table where there are several"
        )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(to_arrow(items[0]), sink)
    _write_output(output, sink.getvalue().to_pybytes())


def _write_output(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SweepError(f"--output {path}: {error.strerror or error}") from error
