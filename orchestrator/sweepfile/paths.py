"""Dotted paths into the configs of stages: setting them, and when two settings contradict each other.

A segment below a list names one of its entries: `measure.measures.fgsm.epsilon` is the `epsilon` of the entry `fgsm` or
`{name: fgsm}` of `measures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import allowed
from orchestrator.sweepfile.yamlfile import kind

Path = tuple[str, ...]

OWN = ("workload", "over", "time_limit")
"""The fields of a stage that are no part of its config."""


def split(text: str) -> Path:
    """The segments of a dotted path; () where one is empty."""
    segments = tuple(text.split("."))
    return segments if all(segments) else ()


def copied(value: Any) -> Any:
    """A deep copy of JSON values (several times faster than copy.deepcopy)."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def set_path(config: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Replace the whole value at `path`; mappings that are missing on the way are made.

    Raises:
        LookupError: the way leads through a list that has no such entry, or through a value that is no mapping.

    Example:
        >>> config = {"measures": ["norm", "fgsm"]}
        >>> set_path(config, ("measures", "fgsm", "epsilon"), 0.1)
        >>> config
        {'measures': ['norm', {'name': 'fgsm', 'epsilon': 0.1}]}
    """
    node: Any = config
    for depth, segment in enumerate(path[:-1]):
        node = _below(node, segment, path[: depth + 1])
    last = path[-1]
    if isinstance(node, list):
        index = _entry(node, last, path)
        node[index] = copied(value)
    else:
        node[last] = copied(value)


def _below(node: Any, segment: str, path: Sequence[str]) -> Any:
    if isinstance(node, list):
        index = _entry(node, segment, path)
        if isinstance(node[index], str):
            node[index] = {"name": node[index]}
        return node[index]
    if node.get(segment) is None:
        node[segment] = {}
    if not isinstance(node[segment], dict | list):
        raise LookupError(f"nothing can be set below {'.'.join(path)}: it is {kind(node[segment])}")
    return node[segment]


def entry_name(entry: Any) -> Any:
    """The name of a list's entry: `fgsm` or `{name: fgsm}`."""
    return entry.get("name") if isinstance(entry, Mapping) else entry


def _entry(entries: Sequence[Any], name: str, path: Sequence[str]) -> int:
    found = [index for index, entry in enumerate(entries) if entry_name(entry) == name]
    if len(found) == 1:
        return found[0]
    holder = ".".join(path[:-1])
    if found:
        raise LookupError(f"{holder} has {len(found)} entries named {name!r}; a path can name only one")
    names = [entry_name(entry) for entry in entries if isinstance(entry_name(entry), str)]
    raise LookupError(f"{holder} has no entry named {name!r}; {allowed(name, names)}")


def states(value: Any, path: Sequence[str]) -> bool:
    """Whether `value` itself says what is at `path` below it.

    Example:
        >>> states({"name": "mlp"}, ("width",)), states({"name": "mlp"}, ("name",)), states(None, ("width",))
        (False, True, True)
    """
    for segment in path:
        if not isinstance(value, Mapping):
            return True
        if segment not in value:
            return False
        value = value[segment]
    return True


def clash(first: Path, first_value: Any, second: Path, second_value: Any) -> bool:
    """Whether two settings say something about one path: the same, or one states what the other sets below it.

    Example:
        >>> clash(("train", "model"), {"name": "mlp"}, ("train", "model", "width"), 8)
        False
        >>> clash(("train", "model"), {"name": "mlp", "width": 4}, ("train", "model", "width"), 8)
        True
    """
    if len(first) > len(second):
        return clash(second, second_value, first, first_value)
    return second[: len(first)] == first and states(first_value, second[len(first) :])
