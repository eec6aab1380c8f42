"""Importing a user's own modules, but none that came with somebody's results."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

MARKER = "store.json"  # lies at the top of every store


def import_outside_stores(path: str) -> ModuleType:
    """The module at a dotted path.

    A spec names the modules of its workloads, and every command that reads a store plans the specs in it. So that a
    colleague's store cannot name code of its own where it can be imported from here, such as ./runs, none is taken
    from below a folder with a store's marker.

    Raises:
        ModuleNotFoundError: there is none.
        LookupError: it, or a package above it, lies in a store.
    """
    parts = path.split(".")
    for end in range(1, len(parts) + 1):  # one by one: to look for a module imports the packages above it
        name = ".".join(parts[:end])
        if name not in sys.modules:
            _refuse_in_store(name)
    return importlib.import_module(path)


def _refuse_in_store(name: str) -> None:
    spec = find_spec(name)
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), spec.origin or ""]
    for place in (Path(text).absolute() for text in places if Path(text).exists()):
        if any((folder / MARKER).exists() for folder in (place, *place.parents)):
            raise LookupError(f"no workload {name!r}: {place} lies in a store, from which no code is taken")
