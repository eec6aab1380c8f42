"""Which stages a stage starts from: every key `from` in its config names one, or a map of roles to several.

`from: STAGE` at the top is the role "input"; a top-level map names its roles itself; below, the role is the dotted path
of the holder, so that `start: {from: corrupt}` is the role "start". `STAGE.start` is the stage's initial weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Part = Literal["end", "start"]


@dataclass(frozen=True)
class StageRef:
    """A stage as another one names it."""

    stage: str
    part: Part = "end"


def parse(text: str) -> StageRef:
    """`corrupt` or `corrupt.start`."""
    if text.endswith(".start"):
        return StageRef(text.removesuffix(".start"), "start")
    return StageRef(text)


def extract(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, StageRef]]:
    """The config with every stage name replaced by its role, and what stands behind each role.

    A stage's name must not reach a key: the same work under another name is the same node.

    Example:
        >>> extract({"start": {"from": "corrupt"}, "stop": {"epochs": 3}})
        ({'start': {'from': 'start'}, 'stop': {'epochs': 3}}, {'start': StageRef(stage='corrupt', part='end')})
    """
    found: dict[str, StageRef] = {}
    return _extract(raw, (), found), found


def _extract(raw: Mapping[str, Any], path: tuple[str, ...], found: dict[str, StageRef]) -> dict[str, Any]:
    closed: dict[str, Any] = {}
    for key, value in raw.items():
        if key == "from" and isinstance(value, str):
            role = ".".join(path) or "input"
            found[role] = parse(value)
            closed[key] = role
        elif key == "from" and isinstance(value, Mapping) and not path:
            found.update({str(role): parse(str(name)) for role, name in value.items()})
            closed[key] = {str(role): str(role) for role in value}
        elif isinstance(value, Mapping):
            closed[key] = _extract(value, (*path, str(key)), found)
        else:
            closed[key] = value
    return closed
