"""What there is to use in a sweep: workloads, measures, models, data sets, and the sweeps a store holds."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, get_args

from orchestrator.store import Store
from workloads.contract import SHIPPED, Config, load_workload

PARTS = {
    "models": "Model",
    "datasets": "Dataset",
    "losses": "Loss",
    "optimizers": "Optimizer",
    "regularizers": "Regularizer",
    "schedules": "Schedule",
    "adversaries": "Adversary",
    "events": "Event",
}
"""Kind -> the union in `workloads.KIND` of what may be chosen by `name`."""


def catalogue(store: Store) -> dict[str, Mapping[str, str]]:
    """name -> one sentence, by kind."""
    return {
        "workloads": {name: _sentence(inspect.getmodule(load_workload(name).run)) for name in SHIPPED},
        "measures": _measures(),
        **{kind: {name: _sentence(part) for name, part in members(kind).items()} for kind in ("models", "datasets")},
        "sweeps": {path.parent.name: "" for path in sorted((store.root / "sweeps").glob("*/plan.json"))},
    }


def _measures() -> dict[str, str]:
    from workloads.measures import MEASURES

    return {name: _sentence(found.function) for name, found in sorted(MEASURES.items())}


def members(kind: str) -> dict[str, type[Config]]:
    """The parts of a kind in `PARTS`, by name."""
    choices = get_args(getattr(importlib.import_module(f"workloads.{kind}"), PARTS[kind]))[0]
    return {part.model_fields["name"].default: part for part in get_args(choices) or (choices,)}


def _sentence(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
