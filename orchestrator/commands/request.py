"""What several commands need of a request: the plan of a spec, the data folder, the sweeps that a store holds."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path

from orchestrator.errors import NotFound, allowed
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.spec import SweepSpec, parse_set, read
from orchestrator.store import Store


def planned(path: Path, request: Namespace) -> Plan:
    from orchestrator.check import check

    overrides = dict(parse_set(text) for text in request.set)
    spec = read(path, request.scale, overrides)
    check(spec)
    return make_plan(spec, data_dir(request), request.limit)


def data_dir(request: Namespace) -> Path:
    return Path(request.data or os.environ.get("SWEEP_DATA") or "data").expanduser()


def saved_spec(store: Store, name: str) -> SweepSpec:
    """The spec of a sweep that this store has run.

    Raises:
        NotFound: there is none of that name.
    """
    folder = store.sweep_folder(name)
    if name not in sweep_names(store):
        raise NotFound(f"{store.root} holds no sweep {name!r}; {allowed(name, sweep_names(store))}")
    saved = json.loads((folder / "plan.json").read_text())
    return read(folder / "spec.yaml", saved["scale"], saved["set"])


def sweep_names(store: Store) -> list[str]:
    return sorted(path.parent.name for path in (store.root / "sweeps").glob("*/plan.json"))
