"""Pydantic's errors in our words: what is wrong, what is allowed, the nearest match, and at which path of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import allowed
from orchestrator.sweepfile.schema import names_at, tag, walk
from orchestrator.sweepfile.yamlfile import kind

_EXPECTED = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "mapping": "a mapping",
    "model": "a mapping",
    "none": "null",
    "set": "a list",
    "string": "text",
    "tuple": "a list",
    "dataclass": "a mapping",
}
_BOUNDS = {
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "multiple_of": "a multiple of {multiple_of:g}",
    "finite_number": "finite",
}


@dataclass(frozen=True)
class Complaint:
    """One thing wrong at `path` below the value that was validated."""

    path: tuple[str | int, ...]
    message: str


def complaints(error: ValidationError, raw: Any, model: Any) -> list[Complaint]:
    """What `error` says about `raw`, which was validated as `model`; one complaint per path."""
    messages: dict[tuple[str | int, ...], list[str]] = {}
    for item in error.errors(include_url=False):
        path = _path(item["loc"], raw)
        extra, message = _EXPLAIN.get(item["type"], _other)(_Case(item, path, raw, model))
        found = messages.setdefault((*path, *extra), [])
        if message not in found:
            found.append(message)
    told = [Complaint(path, _joined(found)) for path, found in messages.items()]
    return [item for item in told if not _follows(item, told)]


_LACKING = ("missing; ", "`name` is missing; ", "needs at least 1 entry, has 0")


def _follows(complaint: Complaint, others: Sequence[Complaint]) -> bool:
    """Whether another one says it too: a field is missing that is misspelt, a list is short whose entries are wrong."""
    path = complaint.path
    if not path or not complaint.message.startswith(_LACKING):
        return False
    if complaint.message.startswith("needs"):
        return any(len(other.path) > len(path) and other.path[: len(path)] == path for other in others)
    beside = [other for other in others if len(other.path) == len(path) and other.path[:-1] == path[:-1]]
    return any(other.message.endswith(f"did you mean {path[-1]!r}?") for other in beside)


def _joined(messages: list[str]) -> str:
    """The members of a union each complain: `expected text, got 3` and `expected null, got 3` are one sentence."""
    parts = [re.fullmatch(r"expected (.*), got (.*)", message) for message in messages]
    if len(parts) > 1 and all(parts):
        wanted = " or ".join(dict.fromkeys(part[1] for part in parts if part))
        return f"expected {wanted}, got {next(part[2] for part in parts if part)}"
    return "; or: ".join(messages)


def _path(place: Iterable[str | int], raw: Any) -> tuple[str | int, ...]:
    """The path in `raw` of pydantic's location, which also names the chosen members of unions."""
    parts = list(place)
    path: list[str | int] = []
    node, entered = raw, False
    for index, part in enumerate(parts):
        if isinstance(node, Mapping):
            is_tag = not entered and node.get("name") == part
            if is_tag or not (part in node or index == len(parts) - 1):
                entered = entered or is_tag
                continue
            if part not in node and not str(part).isidentifier():
                continue
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        path.append(part)
        entered = False
    return tuple(path)


@dataclass(frozen=True)
class _Case:
    item: Any
    path: tuple[str | int, ...]
    raw: Any
    model: Any

    @property
    def got(self) -> str:
        return kind(self.item["input"])

    @property
    def context(self) -> Mapping[str, Any]:
        return self.item.get("ctx", {})

    @property
    def shapes(self) -> list[Any]:
        """The types at the path."""
        return walk(self.model, self.path, self.raw)

    @property
    def thing(self) -> str:
        """What the value is of: its own field, or the list's that it is an entry of."""
        names = [part for part in self.path if isinstance(part, str)]
        if not names:
            return "value"
        return names[-1].removesuffix("s") if isinstance(self.path[-1], int) else names[-1]


_Said = tuple[tuple[str, ...], str]


def _missing(case: _Case) -> _Said:
    return (), "missing; it is required"


def _extra(case: _Case) -> _Said:
    known = names_at(walk(case.model, case.path[:-1], case.raw))
    return (), f"unknown field; {allowed(case.path[-1], known)}"


def _unknown_tag(case: _Case) -> _Said:
    key = case.context["discriminator"].strip("'")
    names = re.findall(r"'([^']*)'", case.context["expected_tags"])
    below = (key,) if isinstance(case.item["input"], Mapping) else ()
    given = case.item["input"].get(key) if below else None
    if below and not isinstance(given, str):
        return below, f"expected one of {', '.join(names)}, got {kind(given)}"
    return below, f"unknown {case.thing} {case.context['tag']!r}; {allowed(case.context['tag'], names)}"


def _no_tag(case: _Case) -> _Said:
    names = [name for shape in case.shapes for name in tag(shape)]
    key = case.context["discriminator"].strip("'")
    if not isinstance(case.item["input"], Mapping):
        return (), f"expected a mapping with `{key}`, got {case.got}"
    return (), f"`{key}` is missing; {allowed('', names)}" if names else f"`{key}` is missing"


def _literal(case: _Case) -> _Said:
    names = re.findall(r"'([^']*)'", case.context["expected"]) or [case.context["expected"]]
    wrong = case.item["input"]
    if isinstance(wrong, str):
        return (), f"unknown {case.thing} {wrong!r}; {allowed(wrong, names)}"
    quoted = f"; write it in quotes: '{case.got}'" if isinstance(wrong, bool) and case.got in names else ""
    return (), f"expected {'one of ' * (len(names) > 1)}{', '.join(names)}, got {case.got}{quoted}"


def _bound(case: _Case) -> _Said:
    return (), f"must be {_BOUNDS[case.item['type']].format(**case.context)}, got {case.got}"


def _value(case: _Case) -> _Said:
    message = str(case.context.get("error", case.item["msg"]))
    field, separator, rest = message.partition(": ")  # "FIELD: what is wrong", of a validator of the whole
    return ((field,), rest) if separator and field in names_at(case.shapes) else ((), message)


def _length(case: _Case) -> _Said:
    least = "at least" if case.item["type"] == "too_short" else "at most"
    count = case.context["min_length" if least == "at least" else "max_length"]
    return (), f"needs {least} {count} {'entry' if count == 1 else 'entries'}, has {case.context['actual_length']}"


def _other(case: _Case) -> _Said:
    wanted = _EXPECTED.get(case.item["type"].split("_")[0])
    if wanted is None:
        return (), f"{case.item['msg'][:1].lower()}{case.item['msg'][1:]}, got {case.got}"
    if wanted == "a mapping" and (names := [name for shape in case.shapes for name in tag(shape)]):
        wanted += f" with `name` ({', '.join(map(str, names))})"
    elif wanted == "a mapping" and (names := names_at(case.shapes)):
        wanted += f" ({', '.join(names)})"
    return (), f"expected {wanted}, got {case.got}"


_EXPLAIN: dict[str, Callable[[_Case], _Said]] = {
    "missing": _missing,
    "extra_forbidden": _extra,
    "unexpected_keyword_argument": _extra,
    "union_tag_invalid": _unknown_tag,
    "union_tag_not_found": _no_tag,
    "literal_error": _literal,
    "value_error": _value,
    "assertion_error": _value,
    "string_too_short": lambda case: ((), "needs at least one letter"),
    "too_short": _length,
    "too_long": _length,
    **dict.fromkeys(_BOUNDS, _bound),
}


def no_such_path(model: Any, path: tuple[str, ...]) -> str | None:
    """What is wrong with `path` if no value of `model` can have it: the first segment that leads nowhere.

    Every member of a union counts, since another level may choose it.
    """
    for length in range(1, len(path) + 1):
        if walk(model, path[:length]):
            continue
        holders, held = walk(model, path[: length - 1]), ".".join(path[: length - 1])
        names = names_at(holders)
        if not names:
            return f"{held} is a plain value; nothing can be set below it"
        place = f"{held} has no field {path[length - 1]!r}" if held else f"no field {path[length - 1]!r}"
        return f"{place}; {allowed(path[length - 1], names)}"
    return None
