"""What several commands need of a request: the plan of a spec, the data folder, the sweeps that a store holds."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import NotFound, Problem, SpecError, StoreError, SweepError, allowed
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.running.resources import Resources, label
from orchestrator.spec import SweepSpec, parse_set, read
from orchestrator.store import Store
from orchestrator.sweepfile.problems import SET


def planned(path: Path, request: Namespace) -> Plan:
    from orchestrator.sweepfile.check import read_checked

    spec = read_checked(path, request.scale, _overrides(request.set))
    return make_plan(spec, data_dir(request), request.limit)


def _overrides(texts: Sequence[str]) -> dict[str, Any]:
    """What `--set` says; raises SpecError with everything that is wrong with it."""
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in texts:
        try:
            path, value = parse_set(text)
        except SpecError as error:
            problems += error.problems
        else:
            if path in found and found[path] != value:
                problems.append(Problem(None, f"{SET} {path}", "set twice, to different values"))
            found[path] = value
    if problems:
        raise SpecError(problems)
    return found


def refuse_equal_names(plans: Sequence[Plan]) -> None:
    names = [plan.spec.record_name for plan in plans]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SweepError(
            f"two of these sweeps are named {', '.join(twice)}: the second would overwrite the first's records"
        )


def data_dir(request: Namespace) -> Path:
    return Path(request.data or os.environ.get("SWEEP_DATA") or "data").expanduser()


def resources_of(request: Namespace) -> Resources:
    """What the options of `run` and `plan` let it use of the machine."""
    address, inline = getattr(request, "address", None), getattr(request, "inline", False)
    cores: tuple[float, ...] = ()
    if address not in (None, "local") and not address.startswith("ray://"):
        from orchestrator.schedule import node_cores  # loads Ray

        cores = node_cores(address)
    labels = tuple(label(text) for text in getattr(request, "on", ()))
    debug = inline and request.debug
    return Resources(request.jobs, request.gpus, address, inline, request.array, debug, cores, labels)


def saved_spec(store: Store, name: str) -> SweepSpec:
    """The spec of a sweep that this store has run.

    Raises:
        NotFound: there is none of that name.
        StoreError: what the store says of it is damaged.
    """
    folder = store.sweep_folder(name)
    if name not in sweep_names(store):
        raise NotFound(f"{store.uri} holds no sweep {name!r}; {allowed(name, sweep_names(store))}")
    place = folder / "plan.json"
    try:
        saved = json.loads(place.read_text())
        scale, overrides = saved["scale"], dict(saved["set"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place}: damaged ({error}); `sweep run` of its file writes it anew") from error
    return read(folder / "spec.yaml", scale, overrides)


def saved_plans(store: Store, data_dir: Path) -> tuple[dict[str, Plan], dict[str, str]]:
    """The plans of all sweeps of a store by name, and why those that have none cannot be planned any more.

    One that has lost its plan.json is among the latter: it needs its nodes as before.
    """
    plans: dict[str, Plan] = {}
    lost: dict[str, str] = {}
    halves = {path.parent.name for path in (store.root / "sweeps").glob("*/spec.yaml")}
    for name in sorted(halves.union(sweep_names(store))):
        try:
            plans[name] = make_plan(saved_spec(store, name), data_dir)
        except (SweepError, LookupError, TypeError, OSError, ValueError) as error:
            lost[name] = str(error)
    return plans, lost


def sweep_names(store: Store) -> list[str]:
    return sorted(path.parent.name for path in (store.root / "sweeps").glob("*/plan.json"))
