"""How fast arrays of which size were on this store's machines: a cache that workers read and add to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

from orchestrator.store import Store, write_atomically

NAME = "calibration.json"


def measured(store: Store) -> dict[str, Mapping[str, float]]:
    """Steps a second by size, for each kind of array; {} where that cannot be read."""
    try:
        return json.loads((store.root / NAME).read_text())
    except (OSError, ValueError):
        return {}


def keep(store: Store, new: Mapping[str, Mapping[str, float]]) -> None:
    """Add to it; where two workers write at once, or it cannot be written, somebody measures again another day."""
    if new:
        with suppress(OSError):
            write_atomically(store.root / NAME, json.dumps({**measured(store), **new}, indent=1))
