"""One sweep from plan to records: plan -> frontier -> schedule -> store -> records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import adaptive, index, record
from orchestrator.events import Observer
from orchestrator.frontier import Frontier
from orchestrator.leases import Leases
from orchestrator.needs import needed
from orchestrator.plan import Plan
from orchestrator.provenance import provenance
from orchestrator.resources import Packing, Resources, pack
from orchestrator.store import Failure, Outcome, Store, write_atomically


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        executed: Nodes computed by this run.
        reused: Nodes that it needed and the store had.
        statuses: How many trials have each status.
        errors: What went wrong, each once, with how often.
        unsent: Operations that MLflow has not got yet.
    """

    executed: int
    reused: int
    statuses: dict[str, int]
    errors: dict[str, int]
    unsent: int = 0

    @property
    def complete(self) -> bool:
        return not {"failed", "skipped", "missing"} & {name for name, count in self.statuses.items() if count}


def run_sweep(
    plan: Plan,
    store: Store,
    done: dict[str, Outcome],
    data_dir: Path,
    resources: Resources,
    tracking_uri: str | None,
    observers: Sequence[Observer],
) -> Summary:
    """Run what is missing of a sweep, shown in MLflow and to `observers`; then its records are up to date."""
    from orchestrator.tracking import Tracker

    save_spec(plan, store)
    tracker = Tracker(plan, store, done, tracking_uri)
    unsent = 0
    try:
        summary = execute_plan(plan, store, done, data_dir, resources, [tracker, *observers])
    finally:
        unsent = tracker.close()
    return replace(summary, unsent=unsent)


def execute_plan(
    plan: Plan,
    store: Store,
    done: dict[str, Outcome],
    data_dir: Path,
    resources: Resources,
    observers: Sequence[Observer],
) -> Summary:
    """Compute what `done` lacks and write the records; both also when interrupted."""
    reused = sum(key in done for key in plan.nodes)
    with Leases(store) as leases:
        packing = pack_plan(plan, done, resources)
        frontier = Frontier(plan, done, leases, packing.workers, observers, packing.arrays)
        try:
            if not frontier.finished:
                _engine(resources)(frontier, store, data_dir, resources, packing)
        finally:
            index.refresh(store, frontier.done)
            statuses, errors = write_records(plan, store, frontier.done)
    return Summary(frontier.executed, reused, statuses, errors)


def pack_plan(plan: Plan, done: Mapping[str, Outcome], resources: Resources) -> Packing:
    """How what is left of a plan is spread over the machine."""
    left = [plan.nodes[key] for key in needed(plan, done)]
    return pack(resources, max((int(node.config.get("threads", 1)) for node in left), default=1), len(left))


Engine = Callable[[Frontier, Store, Path, Resources, Packing], None]


def _engine(resources: Resources) -> Engine:
    if resources.inline:
        return _inline
    from orchestrator.schedule import schedule  # loads Ray: only when something is to be computed

    return schedule


def _inline(frontier: Frontier, store: Store, data_dir: Path, resources: Resources, packing: Packing) -> None:
    """Run the frontier to its end in this process, for tests and debuggers."""
    import time

    from orchestrator.execute import Executor

    executor = Executor(store, data_dir, resources.device, provenance(), frontier.record)
    while not frontier.finished:
        group = frontier.next()
        if group is None:
            time.sleep(0.1)  # what is left is another driver's
        else:
            executor.run(group)


def write_records(plan: Plan, store: Store, done: dict[str, Outcome]) -> tuple[Counter[str], Counter[str]]:
    """Write the rows and curves of `plan`; returns how many trials have each status, and each error."""
    folder = store.records_folder(plan.spec.record_name)
    failures = _failures(plan, store, done)
    rows = record.rows(plan, done, failures)
    record.write(folder, rows, plan.spec)
    histories = {key: table for key in plan.nodes if key in done and (table := store.history(key)) is not None}
    record.write_curves(folder, record.curves(adaptive.wanted(plan, done, failures), histories), plan.spec)
    errors = Counter(error for error in rows.column("error").to_pylist() if error is not None)
    return Counter(rows.column("status").to_pylist()), errors


def _failures(plan: Plan, store: Store, done: dict[str, Outcome]) -> dict[str, Failure]:
    if not (store.root / "failed").is_dir():
        return {}
    return {key: failure for key in plan.nodes if key not in done and (failure := store.failure(key)) is not None}


def save_spec(plan: Plan, store: Store) -> None:
    """Keep what `sweep table`, `claims` and `status` need later: the file as it was and what was laid over it."""
    folder = store.sweep_folder(plan.spec.record_name)
    source = plan.spec.document.path
    write_atomically(folder / "spec.yaml", source.read_bytes())
    for table in plan.spec.tables.values():
        if table.paper and (source.parent / table.paper).is_file():
            write_atomically(folder / table.paper, (source.parent / table.paper).read_bytes())
    stages: dict[str, dict[str, int]] = {}
    for node in plan.nodes.values():
        stage = stages.setdefault(node.stage, {"nodes": 0, "uses": 0})
        stage["nodes"] += 1
        stage["uses"] += len(plan.uses(node.key))
    saved = {
        "file": str(source.absolute()),
        "scale": plan.spec.scale,
        "set": dict(plan.spec.overrides),
        "trials": len(plan.trials),
        "stages": stages,
    }
    write_atomically(folder / "plan.json", json.dumps(saved, indent=1, sort_keys=True))
