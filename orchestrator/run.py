"""One sweep from plan to records: plan -> frontier -> schedule -> store -> records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import record
from orchestrator.frontier import Frontier
from orchestrator.plan import Plan, PlannedTrial
from orchestrator.planning import adaptive
from orchestrator.planning.forecast import Pricing
from orchestrator.planning.needs import needed
from orchestrator.planning.outlook import learnt
from orchestrator.running.events import Event, NodeFailed, Observer
from orchestrator.running.recording import recording
from orchestrator.running.resources import Packing, Resources, pack
from orchestrator.running.stopping import Stopping
from orchestrator.storage import index
from orchestrator.storage.leases import Driver, Leases
from orchestrator.storage.writing import NotWritable, write_atomically
from orchestrator.store import OUTCOME, Damaged, Failure, Outcome, Store
from orchestrator.sweepfile.saving import saved_files

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        executed: Nodes computed by this run.
        reused: Nodes that it needed and the store had.
        statuses: How many trials have each status.
        errors: What went wrong, each once, with how often.
        damaged: What was wrong with the nodes that were computed again, by label.
        unsent: Operations that MLflow has not got yet.
        page: Where MLflow shows the sweep, "" where `sweep ui` would.
        report: The page that was made of it.
        unmade: Why there is no report, or not every figure.
    """

    executed: int
    reused: int
    statuses: dict[str, int]
    errors: dict[str, int]
    damaged: dict[str, str]
    unsent: int = 0
    page: str = ""
    report: Path | None = None
    unmade: str = ""

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
    from orchestrator.to_mlflow.exhibits import Exhibits
    from orchestrator.tracking import Tracker

    save_spec(plan, store)
    tracker = Tracker(plan, store, done, data_dir, tracking_uri)
    try:
        summary = execute_plan(plan, store, done, data_dir, resources, [tracker, *observers])
    except BaseException:
        tracker.let_go()
        raise
    exhibits = Exhibits(plan, store, data_dir)
    unsent = tracker.close(exhibits=exhibits)
    return replace(summary, unsent=unsent, page=tracker.page, report=exhibits.report, unmade=exhibits.unmade)


def execute_plan(
    plan: Plan,
    store: Store,
    done: dict[str, Outcome],
    data_dir: Path,
    resources: Resources,
    observers: Sequence[Observer],
) -> Summary:
    """Compute what `done` lacks and write the records; both also when interrupted.

    Raises:
        Interrupted: a stop was asked for.
        NotWritable: the store takes nothing any more.
        EngineLost: Ray has died.
    """
    reused = sum(key in done for key in plan.nodes)
    damaged = again = _set_aside_unreadable(plan, store, done)
    executed = 0
    driver = Driver.this(plan.spec.record_name)
    with Stopping() as stopping, Leases(store, driver, stop=stopping.ask) as leases:
        while True:
            packing = pack_plan(plan, done, resources)
            seconds = _expected(plan, store, done, packing)
            frontier = Frontier(plan, done, leases, packing.workers, observers, packing.arrays, seconds)
            frontier.reopen(again)
            try:
                if not frontier.finished:
                    with recording(plan, store, frontier):
                        _engine(resources)(frontier, store, data_dir, resources, packing, stopping)
            except BaseException:
                with suppress(NotWritable):  # if that was it, it is being said
                    write_records(plan, store, frontier.done)
                raise
            statuses, errors, again = write_records(plan, store, frontier.done)
            executed += frontier.executed
            damaged = {**damaged, **frontier.damaged, **again}
            if not again:
                labels = {f"{plan.nodes[key].label} {key[:10]}": error for key, error in damaged.items()}
                return Summary(executed, reused, statuses, errors, labels)
            done = {key: outcome for key, outcome in frontier.done.items() if key not in again}


def compute_trial(
    plan: Plan, trial: PlannedTrial, store: Store, done: dict[str, Outcome], data_dir: Path, resources: Resources
) -> dict[str, Failure]:
    """Compute what one trial lacks, in this process, and write the records of the whole plan; what failed, by key.

    Raises:
        Interrupted: a stop was asked for.
        NotWritable: the store takes nothing any more.
    """
    needs = {*trial.nodes.values()}
    for key in reversed([*plan.nodes]):  # a stage that gathers reaches nodes of other trials too
        if key in needs:
            needs |= {ref.key for ref in plan.nodes[key].inputs.values()}
    part = replace(plan, trials=(trial,), nodes={key: node for key, node in plan.nodes.items() if key in needs})
    failures: dict[str, Failure] = {}

    def take(event: Event) -> None:
        if isinstance(event, NodeFailed):
            failures[event.key] = event.failure

    driver = Driver.this(plan.spec.record_name)
    with Stopping() as stopping, Leases(store, driver, stop=stopping.ask) as leases:
        packing = pack_plan(part, done, resources)
        frontier = Frontier(part, dict(done), leases, packing.workers, [take], packing.arrays)
        _engine(resources)(frontier, store, data_dir, resources, packing, stopping)
        write_records(plan, store, {**done, **frontier.done})
    return failures


def _expected(plan: Plan, store: Store, done: Mapping[str, Outcome], packing: Packing) -> dict[str, float]:
    """The seconds that each node which is not done may take, as far as the store or its operations tell."""
    left = {key: node for key, node in plan.nodes.items() if key not in done}
    if not left:
        return {}
    pricing = Pricing(learnt(store, index.look(store, ())), "cuda" if packing.gpus else "cpu")
    return {key: pricing.of(node).seconds for key, node in left.items()}


def _set_aside_unreadable(plan: Plan, store: Store, done: Mapping[str, Outcome]) -> Damages:
    """Move nodes out of the way that are there but cannot be read; why, by key."""
    found = store.committed(plan.nodes.keys() - done.keys())
    return {key: f"{store.node_folder(key) / OUTCOME}: damaged" for key in sorted(found) if store.set_aside(key)}


def pack_plan(plan: Plan, done: Mapping[str, Outcome], resources: Resources) -> Packing:
    """How what is left of a plan is spread over the machine."""
    left = [plan.nodes[key] for key in needed(plan, done)]
    return pack(resources, max((int(node.config.get("threads", 1)) for node in left), default=1), len(left))


Engine = Callable[[Frontier, Store, Path, Resources, Packing, Stopping], None]


def _engine(resources: Resources) -> Engine:
    if resources.inline:
        from orchestrator.running.inline import run_inline

        return run_inline
    from orchestrator.schedule import schedule  # loads Ray: only when something is to be computed

    return schedule


Damages = dict[str, str]
"""What is wrong with nodes, by key."""


def write_records(plan: Plan, store: Store, done: dict[str, Outcome]) -> tuple[Counter[str], Counter[str], Damages]:
    """Write the index, and the rows and curves of `plan`.

    Returns:
        How many trials have each status, how many each error, and the nodes that were found damaged and set aside.
    """
    index.refresh(store, done)
    folder = store.records_folder(plan.spec.record_name)
    failures = _failures(plan, store, done)
    rows = record.rows(plan, done, failures)
    record.write(folder, rows, plan.spec)
    histories, damaged = _histories(plan, store, done)
    record.write_curves(folder, record.curves(adaptive.wanted(plan, done, failures), histories), plan.spec)
    store.publish(folder)
    errors = Counter(error for error in rows.column("error").to_pylist() if error is not None)
    return Counter(rows.column("status").to_pylist()), errors, damaged


def _histories(plan: Plan, store: Store, done: Mapping[str, Outcome]) -> tuple[dict[str, pyarrow.Table], Damages]:
    found: dict[str, pyarrow.Table] = {}
    damaged: Damages = {}
    for key in plan.nodes:
        try:
            table = store.history(done[key]) if key in done else None
        except Damaged as error:
            damaged[key] = str(error)
            store.set_aside(key)
        else:
            found |= {} if table is None else {key: table}
    return found, damaged


def _failures(plan: Plan, store: Store, done: dict[str, Outcome]) -> dict[str, Failure]:
    if not (store.refresh("failed").root / "failed").is_dir():
        return {}
    return {key: failure for key in plan.nodes if key not in done and (failure := store.failure(key)) is not None}


def save_spec(plan: Plan, store: Store) -> None:
    """Keep what `sweep table`, `claims` and `status` need later: the file as it was and what was laid over it."""
    folder = store.sweep_folder(plan.spec.record_name)
    source = plan.spec.document.path
    for name, content in saved_files(plan.spec).items():
        write_atomically(folder / name, content)
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
    store.publish(folder)
