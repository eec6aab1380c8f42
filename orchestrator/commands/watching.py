"""`sweep status`, `sweep logs` and `sweep stop`: a sweep as seen from any machine that sees its store."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.commands.request import data_dir, saved_spec, sweep_names
from orchestrator.errors import NotFound, SweepError, allowed
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.planning.outlook import count_plan
from orchestrator.storage import index
from orchestrator.storage.leases import BEAT, Driver, Leases
from orchestrator.storage.nodelog import node_log
from orchestrator.store import Store
from orchestrator.terminal.finding import find_trial
from orchestrator.terminal.wording import store_option

FOLLOW_SECONDS = 2.0  # between looks at the store
SILENCE = 3 * BEAT  # a driver that has not been heard of for so long is said to be silent
STOP_SECONDS = 30.0  # that `sweep stop` waits for the end
ERRORS = 3  # of a sweep, shown by status


@dataclass(frozen=True)
class State:
    """How far a sweep is, as the store has it.

    Attributes:
        option: What names the store to the next command, where it is not the usual one.
    """

    name: str
    trials: int
    trials_done: int
    nodes: int
    done: int
    running: int
    failed: dict[str, str]
    drivers: tuple[str, ...]
    option: str = ""

    @property
    def counts(self) -> str:
        """Example: demo: 3 of 4 trials, 5 of 7 nodes done, 1 running, 1 failed"""
        parts = [f"{self.name}: {self.trials_done} of {self.trials} trials", f"{self.done} of {self.nodes} nodes done"]
        parts += [f"{self.running} running"] if self.running else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        return ", ".join(parts)

    def __str__(self) -> str:
        shown = [*self.failed.items()][:ERRORS]
        more = len(self.failed) - len(shown)
        lines = [self.counts, *(f"  run by {driver}" for driver in self.drivers)]
        lines += [f"  failed: {label}: {error}" for label, error in shown]
        lines += [f"  and {more} more"] if more else []
        lines += [f"  tracebacks: sweep logs {self.name}{self.option} --trial KEY"] if shown else []
        return "\n".join(lines)


def status_command(request: Namespace) -> int:
    """`sweep status`: from the saved specs and the store, never from what a driver believes; or as MLflow has it."""
    if request.address:
        from orchestrator.commands.submit import job_status

        return job_status(request)
    if request.tracking_uri is not None:
        return _status_of_server(request)
    store = Store.at(request.store).refresh()
    leases = Leases(store)  # one for all looks: whether a driver elsewhere lives shows only with time
    names = [request.name] if request.name else sweep_names(store)
    if not names:
        print(f"no sweeps in {store.uri}")
    plans = dict(_plans(store, names, request))
    told: dict[str, str] = {}
    while True:
        states = [_state(store, leases, plan) for plan in plans.values()]
        for state in states:
            if told.get(state.name) != str(state):
                print(state, flush=True)
            told[state.name] = str(state)
        if not request.follow or not any(state.drivers for state in states):
            return 0
        time.sleep(FOLLOW_SECONDS)
        store.refresh()


def _status_of_server(request: Namespace) -> int:
    """The same from a tracking server, where the store cannot be seen."""
    from orchestrator.to_mlflow.standing import standings
    from orchestrator.tracking import target

    target(Store.at(request.store), request.tracking_uri)  # refuses one that holds a password
    told: dict[str, str] = {}
    while True:
        found = standings(request.tracking_uri, request.name)
        if not found:
            print(f"no sweeps in {request.tracking_uri}")
        for standing in found:
            if told.get(standing.name) != str(standing):
                print(standing, flush=True)
            told[standing.name] = str(standing)
        if not request.follow or not any(standing.drivers for standing in found):
            return 0
        time.sleep(FOLLOW_SECONDS)


def _plans(store: Store, names: Iterable[str], request: Namespace) -> Iterator[tuple[str, Plan]]:
    for name in names:
        try:
            yield name, make_plan(saved_spec(store, name), data_dir(request))
        except (SweepError, LookupError, TypeError) as error:  # such as a workload that is not on the path from here
            if request.name:
                raise (
                    type(error)(f"{name}: {error}") if isinstance(error, SweepError) else SweepError(f"{name}: {error}")
                ) from error
            print(f"{name}: {error}")


def _state(store: Store, leases: Leases, plan: Plan) -> State:
    name = plan.spec.record_name
    held = index.look(store, plan.nodes)
    described = count_plan(plan, held)
    total, done = (sum(stage[count] for stage in described["stages"].values()) for count in ("nodes", "done"))
    broken = sorted(plan.nodes.keys() & {path.stem for path in (store.root / "failed").glob("*.json")} - {*held})
    errors = {f"{plan.nodes[key].label} {key[:10]}": _error(store, key) for key in broken}
    leased = leases.leased() & plan.nodes.keys()
    running = sum(leases.holder(key) is not None for key in leased - {*held})
    drivers = tuple(sorted(_driver_text(leases, driver) for driver in leases.drivers() if driver.sweep == name))
    counts = described["trials"], described["trials_done"], total, done, running
    return State(name, *counts, errors, drivers, store_option(store))


def _error(store: Store, key: str) -> str:
    failure = store.failure(key)
    return "gone meanwhile" if failure is None else failure.error


def _driver_text(leases: Leases, driver: Driver) -> str:
    silent = leases.silent(driver)
    return f"{driver}, silent for {silent:.0f} s" if not driver.here() and silent > SILENCE else str(driver)


def stop_command(request: Namespace) -> int:
    """`sweep stop`: asks the drivers of a sweep to stop, and waits; exit code 1 if one goes on."""
    if request.address:
        from orchestrator.commands.submit import job_stop

        return job_stop(request)
    store = Store.at(request.store).refresh()
    if request.name not in sweep_names(store):
        raise NotFound(f"{store.uri} holds no sweep {request.name!r}; {allowed(request.name, sweep_names(store))}")
    leases = Leases(store)
    left = {driver.name: driver for driver in leases.drivers() if driver.sweep == request.name}
    if not left:
        print(f"{request.name} is not running")
        return 0
    for driver in left.values():
        leases.ask_to_stop(driver)
        print(f"asked {driver} to stop", flush=True)
    until = time.monotonic() + STOP_SECONDS
    while left and time.monotonic() < until:
        time.sleep(0.2)
        living = {driver.name for driver in leases.drivers()}
        for name in [name for name in left if name not in living]:
            print(f"{left.pop(name)} has stopped; what is finished is kept", flush=True)
    for driver in left.values():
        print(f"{driver} has not stopped in {STOP_SECONDS:.0f} s; it may be dead, or busy", file=sys.stderr)
    return 1 if left else 0


def logs_command(request: Namespace) -> int:
    """`sweep logs`: what a run of a sweep wrote to its log, or all that is known of the nodes of one trial."""
    if request.address:
        from orchestrator.commands.submit import job_logs

        return job_logs(request)
    store = Store.at(request.store).refresh()
    spec = saved_spec(store, request.name)
    if request.trial is None:
        path = store.fetch(store.sweep_folder(request.name) / "run.log")
        print(f"{path}:")
        sys.stdout.write(path.read_text(errors="replace") if path.exists() else "")
        return 0
    plan = make_plan(spec, data_dir(request))
    trial = find_trial(plan, request.trial)
    held = index.known(store, trial.nodes.values())
    print(f"trial {trial.key}: {' '.join(f'{name}={level}' for name, level in trial.trial.levels.items())}")
    for key in dict.fromkeys(trial.nodes.values()):
        outcome, failure = held.get(key), store.failure(key)
        status = outcome.status if outcome else "failed" if failure else "not finished"
        place = outcome.meta.get("host", "") if outcome else failure.meta.get("host", "") if failure else ""
        print(f"\n{plan.nodes[key].label} {key}: {status}" + (f" on {place}" if place else ""))
        if (log := store.fetch(node_log(store, key))).exists():
            sys.stdout.write(log.read_text(errors="replace"))
        if failure and not outcome:
            sys.stdout.write(failure.traceback)
    return 0
