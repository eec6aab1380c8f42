"""What there is to use in a sweep: workloads, measures, models, data sets, and the sweeps a store holds."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_args

from orchestrator.store import Store
from workloads.contract import SHIPPED, load_workload


def catalogue(store: Store) -> dict[str, Mapping[str, str]]:
    """name -> one sentence, by kind."""
    return {
        "workloads": {name: _sentence(inspect.getmodule(load_workload(name).run)) for name in SHIPPED},
        "measures": _measures(),
        "models": _members("workloads.models", "Model"),
        "datasets": _members("workloads.datasets", "Dataset"),
        "sweeps": {path.parent.name: "" for path in sorted((store.root / "sweeps").glob("*/plan.json"))},
    }


def _measures() -> dict[str, str]:
    from workloads.measures import MEASURES

    return {name: _sentence(found.function) for name, found in sorted(MEASURES.items())}


def _members(module: str, union: str) -> dict[str, str]:
    """The members of a union of parts by their tags."""
    import importlib

    choices = get_args(getattr(importlib.import_module(module), union))[0]
    return {part.model_fields["name"].default: _sentence(part) for part in get_args(choices) or (choices,)}


def _sentence(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
