"""Writes values as YAML that `yamlfile` reads back as the same values: blocks of mappings, everything else as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED = frozenset({"null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"})
# What YAML does not take as it is, or would fold, in quotes; JSON escapes what comes before the blank.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def write(value: Mapping[Any, Any]) -> str:
    """The text of a file whose top is `value`.

    Example:
        >>> print(write({"axes": {"seed": 3, 0: {"fit.x": [1, "on it"]}}, "title": "true"}), end="")
        axes:
          seed: 3
          0:
            fit.x: [1, "on it"]
        title: "true"
    """
    return "".join(f"{line}\n" for line in _block(value, "")) or "{}\n"


def _block(value: Mapping[Any, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        name = f"{indent}{_scalar(key)}:"
        if len(name) > 1000:  # a longer key needs a mark of its own
            name = f"{indent}? {_scalar(key)}\n{indent}:"
        if isinstance(item, Mapping) and item:
            yield name
            yield from _block(item, indent + "  ")
        else:
            yield f"{name} {_flow(item)}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"? {_scalar(key)} : {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _BARE.fullmatch(value) and value not in _RESERVED:
        return value
    return _UNPRINTABLE.sub(_escape, json.dumps(value, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
