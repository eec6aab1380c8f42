"""The parts there are, read off their unions."""

from __future__ import annotations

from typing import Any, get_args

from workloads.contract import Config


def members(union: Any) -> list[type[Config]]:
    """The classes of a union of parts, or the one class of a union that has one member so far."""
    inside = get_args(union)[0]
    return [*(get_args(inside) or (inside,))]


def tag(kind: type[Config]) -> str:
    return str(kind.model_fields["name"].default)
