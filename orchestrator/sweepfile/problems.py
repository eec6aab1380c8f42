"""Collects what is wrong with a sweep file, so that all of it is said at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import MOST, Problem, SpecError, Where, allowed, field_name
from orchestrator.sweepfile.yamlfile import Document, Place, kind

SET = "--set"
"""First element of the place of what the command line set: such a place is not in the file."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def dotted(place: Iterable[object]) -> str:
    """A place as messages name it."""
    text = field_name(place)
    return text.replace(f"{SET}.", f"{SET} ", 1) if text.startswith(f"{SET}.") else text


def where_in(document: Document, place: Place) -> Where | None:
    """Where `place` is in the file; None for what the command line set."""
    return None if place[:1] == (SET,) else document.where(place)


class Problems:
    """What has been found wrong in `document` so far."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: dict[Problem, None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, message: str, field: str | None = None) -> None:
        """Note a problem at `place`; `field` where the reader knows it by another name."""
        shown = dotted(place) if field is None else field
        self._found[Problem(where_in(self.document, place), shown, message)] = None
        if len(self._found) >= MOST:
            raise SpecError([*self._sorted(), Problem(None, "", f"and more: these are the first {MOST} problems")])

    def extend(self, error: SpecError) -> None:
        """Note what another part found."""
        self._found.update(dict.fromkeys(error.problems))

    def include(self, others: Problems) -> None:
        """Note what another one has noted."""
        self._found.update(others._found)

    def stop(self) -> None:
        """Raises SpecError if anything is wrong, in the file's order."""
        if self._found:
            raise SpecError(self._sorted())

    def spare(self, *sections: str) -> bool:
        """Whether nothing is wrong in these sections of the file."""
        return not any(re.split("[. ]", problem.field)[0] in sections for problem in self._found)

    def _sorted(self) -> list[Problem]:
        files = [str(path) for path in self.document.files]

        def order(problem: Problem) -> tuple[int, int, int]:
            where = problem.where
            return (files.index(where.file), where.line, where.column) if where else (-1, 0, 0)

        return sorted(self._found, key=order)

    def mapping(self, place: Place, value: Any) -> Mapping[Any, Any]:
        """`value`, or {} with a problem if it is no mapping; nothing at all is {}."""
        if value is None or isinstance(value, Mapping):
            return value or {}
        self.add(place, f"expected a mapping, got {kind(value)}")
        return {}

    def fields(self, place: Place, value: Any, known: Iterable[str], required: Iterable[str] = ()) -> Mapping[Any, Any]:
        """A mapping whose keys are among `known` and hold all of `required`."""
        raw = self.mapping(place, value)
        unknown = {key: f"unknown field; {allowed(key, known)}" for key in [*raw][:MOST] if key not in known}
        for key, message in unknown.items():
            self.add((*place, key), message)
        meant = {message.rpartition("did you mean ")[2] for message in unknown.values()}
        for key in required:
            if key not in raw and not meant & {f"{key!r}?", "'extends'?"}:
                self.add((*place, key), "missing; it is required")
        return raw

    def name(self, place: Place, name: object) -> bool:
        """Whether `name` can name files and folders."""
        if isinstance(name, str) and NAME.fullmatch(name):
            return True
        self.add(place, f"{kind(name)} cannot be a name: allowed: letters, digits and, not first, '.', '_', '-'")
        return False
