"""YAML 1.2 core with the place of everything: text -> values.

PyYAML's parser gives the events; what plain text means (`on` is text, `5e-3` a number) and all limits are ours. The
tree is built from events, not by PyYAML's composer, so that depth, size and aliases are bounded while it is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from orchestrator.errors import MOST, Problem, SpecError, Where, field_name

MAX_LETTERS = 5_000_000
MAX_NODES = 100_000
MAX_DEPTH = 50

Place = tuple[Hashable, ...]
"""The keys and indices that lead to a value."""

_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_UNACCEPTABLE = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\x80-\\x84\\x86-\\x9f\\ud800-\\udfff\\ufffe\\uffff]")
_CONFLICT = re.compile(r"^(<{7}|>{7}) .*$", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def kind(value: object) -> str:
    """What a value is, in words.

    Example:
        >>> kind(True), kind(3), kind([])
        ('true', 'the number 3', 'a list')
    """
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return f"the text {shown}" if isinstance(value, str) else f"the number {shown}"


def _height(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_height, items), default=0)


@dataclass
class Builder:
    source: str
    positions: dict[Place, Where] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int, int]] = field(default_factory=dict)
    open_anchors: set[str] = field(default_factory=set)
    nodes: int = 0
    letters: int = 0
    pending: Iterator[Event] = field(default_factory=lambda: iter(()))

    def document(self, text: str) -> Any:
        """The one document of `text`; raises SpecError with everything that is wrong."""
        value = None
        try:
            self.pending = yaml.parse(text, Loader=_LOADER)
            documents = 0
            for event in self.pending:
                if isinstance(event, DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        raise self._refusal(event, "a second document (`---`); a sweep file is one document")
                    value = self._value(next(self.pending), ())
        except yaml.YAMLError as error:
            raise SpecError([*self.problems, self._syntax(error, text)]) from None
        if self.problems:
            raise SpecError(self.problems)
        return value

    def _value(self, event: Event, path: Place) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._refusal(event, f"more than {MAX_NODES:,} values, aliases counted each time they are used")
        if len(path) > MAX_DEPTH:
            raise self._refusal(event, f"nested deeper than {MAX_DEPTH} levels")
        if path and path not in self.positions:
            self.positions[path] = self._where(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, len(path))
        anchor, before = getattr(event, "anchor", None), (self.nodes, self.letters)
        if anchor:
            self.open_anchors.add(anchor)
        value = self._content(event, path)
        if anchor:
            self.open_anchors.discard(anchor)
            self.anchors[anchor] = (value, self.nodes - before[0] + 1, self.letters - before[1])
        return value

    def _content(self, event: Event, path: Place) -> Any:
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        self._tag(event)
        return self._mapping(path) if isinstance(event, MappingStartEvent) else self._sequence(path)

    def _alias(self, event: AliasEvent, depth: int) -> Any:
        name = event.anchor
        if name in self.open_anchors:
            raise self._refusal(event, f"*{name} stands inside what it names")
        if name not in self.anchors:
            raise self._refusal(event, f"*{name} names no anchor above")
        value, size, letters = self.anchors[name]
        self.nodes += size
        self.letters += letters
        if self.letters > MAX_LETTERS:
            raise self._refusal(event, f"more than {MAX_LETTERS:,} letters, aliases counted each time they are used")
        if depth + _height(value) > MAX_DEPTH:
            raise self._refusal(event, f"nested deeper than {MAX_DEPTH} levels")
        return value

    def _sequence(self, path: Place) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self.pending), SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: Place) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        places: dict[Any, Where] = {}
        while not isinstance(event := next(self.pending), MappingEndEvent):
            key = self._key(event)
            where = self._where(event)
            if key in places:
                self._duplicate(key, where, places, path)
                self._value(next(self.pending), (*path, key, "duplicate"))
                continue
            places[key] = self.positions[*path, key] = where
            values[key] = self._value(next(self.pending), (*path, key))
        return values

    def _key(self, event: Event) -> Any:
        if not isinstance(event, ScalarEvent):
            raise self._refusal(event, "a key must be plain text or a number")
        if event.value == "<<" and event.implicit[0]:
            raise self._refusal(event, "`<<` merges are not YAML 1.2; repeat the fields, or alias the whole value")
        self.nodes += 1
        return self._scalar(event)

    def _duplicate(self, key: Any, where: Where, places: Mapping[Any, Where], path: Place) -> None:
        first = next(item for item in places if item == key)
        also = "" if type(first) is type(key) else f" as {kind(first)}, which is the same key (quote one of them)"
        message = f"duplicate key; it is already in line {places[key].line}, column {places[key].column}{also}"
        self._note(Problem(where, field_name((*path, key)), message))

    def _scalar(self, event: ScalarEvent) -> Any:
        self._tag(event)
        text = str(event.value)
        self.letters += len(text)
        if event.tag is not None or not event.implicit[0]:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
            return self._integer(event, text)
        if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            return self._float(event, text)
        return text

    def _integer(self, event: ScalarEvent, text: str) -> int:
        value = int(text, 0) if text[:2] in ("0o", "0x") else int(text) if len(text) < 30 else 2**64
        if not -(2**63) <= value < 2**63:
            self._note(Problem(self._where(event), "", f"{text[:40]} does not fit a 64-bit whole number"))
            return 0
        return value

    def _float(self, event: ScalarEvent, text: str) -> float:
        value = math.inf if _NOT_FINITE.fullmatch(text) else float(text)
        if not math.isfinite(value):
            self._note(Problem(self._where(event), "", f"{text[:40]} is not a finite number"))
            return 0.0
        return value

    def _tag(self, event: Event) -> None:
        tag = getattr(event, "tag", None)
        if tag in (None, "!") or (tag == "tag:yaml.org,2002:str" and isinstance(event, ScalarEvent)):
            return
        shown = str(tag).replace("tag:yaml.org,2002:", "!!")
        raise self._refusal(event, f"the tag {shown!r} is not allowed; write the value without a tag")

    def _where(self, event: Event) -> Where:
        return Where(self.source, event.start_mark.line + 1, event.start_mark.column + 1)

    def _note(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= MOST:
            raise SpecError([*self.problems, Problem(None, "", f"and more: these are the first {MOST} problems")])

    def _refusal(self, event: Event, message: str) -> SpecError:
        return SpecError([*self.problems, Problem(self._where(event), "", message)])

    def _syntax(self, error: yaml.YAMLError, text: str) -> Problem:
        if found := _UNACCEPTABLE.search(text):
            before = text[: found.start()]
            where = Where(self.source, before.count("\n") + 1, len(before) - before.rfind("\n"))
            return Problem(where, "", f"no YAML: the character {found[0]!a} cannot stand in it")
        if found := _CONFLICT.search(text):
            where = Where(self.source, text[: found.start()].count("\n") + 1, 1)
            return Problem(where, "", f"no YAML: {found[0].strip()!r} is what a merge left where two versions differ")
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is None:
            return Problem(Where(self.source, 1, 1), "", f"no YAML: {' '.join(str(error).split())[:200]}")
        lines = text.rstrip("\n").split("\n")
        line = min(mark.line, len(lines) - 1)
        where = Where(self.source, line + 1, (mark.column if line == mark.line else len(lines[line])) + 1)
        if re.match(r" *\t", lines[line]):
            return Problem(where, "", "no YAML: a tab cannot indent; use spaces")
        context, begun = getattr(error, "context", None), getattr(error, "context_mark", None)
        since = f" that begins in line {min(begun.line + 1, len(lines))}" if begun else ""
        while_ = f" ({context}{since})" if context else ""
        return Problem(where, "", f"no YAML: {getattr(error, 'problem', None) or 'cannot be parsed'}{while_}")
