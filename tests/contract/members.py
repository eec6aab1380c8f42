"""The parts there are, read off their unions."""

from __future__ import annotations

from typing import Any, get_args

from workloads.contract import Config


def members(union: Any) -> list[type[Config]]:
    """The classes of a union of parts, however it is nested; or the one class of a union of one member so far."""
    if isinstance(union, type):
        return [union]
    inside = get_args(union)
    below = inside[:1] if hasattr(union, "__metadata__") else inside
    return [kind for item in below for kind in members(item)]


def tag(kind: type[Config]) -> str:
    return str(kind.model_fields["name"].default)
