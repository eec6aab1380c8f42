"""Which nodes can be computed together: those that differ only in fields their configs declare `ARRAYABLE`."""

from __future__ import annotations

import json
from typing import Any

from workloads.contract import Config


def kind(config: Config) -> str:
    """Canonical JSON of all fields but the arrayable ones, however deep they lie."""
    return json.dumps(_fixed(config), sort_keys=True, separators=(",", ":"))


def _fixed(value: Any) -> Any:
    if isinstance(value, Config):
        arrayable: frozenset[str] = getattr(type(value), "ARRAYABLE", frozenset())
        return {name: _fixed(getattr(value, name)) for name in type(value).model_fields if name not in arrayable}
    if isinstance(value, tuple | list):
        return [_fixed(item) for item in value]
    return value


def numbers(part: Config | None) -> dict[str, float]:
    """The arrayable numbers of an optimizer or a regularizer, by field."""
    names: frozenset[str] = getattr(type(part), "ARRAYABLE", frozenset())
    return {name: float(getattr(part, name)) for name in sorted(names)}
