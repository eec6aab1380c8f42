"""`extends: OTHER`: a sweep file that says only in what it differs from another one.

Mappings merge key by key; everything else is replaced. A mapping that chooses another part than the base (`name`, a
stage's `workload`, a figure's `kind`) replaces the base's whole, because the options of another part make no sense.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, SpecError, Where
from orchestrator.sweepfile.yamlfile import Document, Place, kind, load

MAX_CHAIN = 10
CHOICES = ("name", "workload", "kind")
"""Fields whose text chooses what the fields beside them mean."""


def load_extended(path: Path) -> Document:
    """The sweep file `path` laid over the file that it extends, and so on; what stands where is still known.

    Raises:
        SpecError: a file cannot be read, they extend each other in a circle, or the sweep has no name of its own.
    """
    document = load(path)
    chain = [document]
    problems: list[Problem] = []
    if "extends" in document.value and "name" not in document.value:
        message = "missing; a sweep that extends another says its own name, under which its records are kept"
        problems.append(Problem(document.where(("name",)), "name", message))
    while "extends" in chain[-1].value:
        try:
            chain.append(_base(chain))
        except SpecError as error:
            raise SpecError([*problems, *error.problems]) from None
    if problems:
        raise SpecError(problems)
    merged = chain.pop()
    while chain:
        merged = _laid_over(chain.pop(), merged)
    return merged


def _base(chain: Sequence[Document]) -> Document:
    """The file that the last of `chain` extends."""
    document = chain[-1]
    named, where = document.value["extends"], document.where(("extends",))

    def refuse(message: str) -> SpecError:
        return SpecError([Problem(where, "extends", message)])

    if not isinstance(named, str) or not named.strip() or "\0" in named:
        raise refuse(f"expected the path of a sweep file, got {kind(named)}")
    path = document.path.parent / named
    files = [item.path for item in chain]
    try:
        again = any(path.resolve() == item.resolve() for item in files)
    except (OSError, RuntimeError) as error:  # such as a name that is too long, links in a circle
        raise refuse(f"{named} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if again:
        raise refuse(f"files extend each other in a circle: {' -> '.join(map(str, [*files, path]))}")
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):  # a pipe might never end
        raise refuse(f"{path} is no file; expected a YAML file")
    if len(chain) >= MAX_CHAIN:
        raise refuse(f"the {len(chain)}th file in a chain of `extends`; at most {MAX_CHAIN} files")
    try:
        return load(path)
    except SpecError as error:
        if all(problem.where is None for problem in error.problems):  # it could not be opened: said where it is named
            raise refuse("; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)) from None
        raise


def _laid_over(document: Document, base: Document) -> Document:
    replaced: set[Place] = set()
    own = {key: value for key, value in document.value.items() if key != "extends"}
    value = _merged(base.value, own, (), replaced)
    kept = {place: where for place, where in base.positions.items() if not _is_below(place, replaced)}
    positions: dict[Place, Where] = {**kept, **document.positions}
    contents = {**base.contents, **document.contents}
    return Document(document.path, value, positions, (document.path, *base.files), contents)


def _merged(base: Mapping[Any, Any], over: Mapping[Any, Any], place: Place, replaced: set[Place]) -> dict[Any, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        here = (*place, key)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and not _chooses_another(value, below):
            merged[key] = _merged(below, value, here, replaced)
        else:
            merged[key] = value
            replaced.add(here)
    return merged


def _chooses_another(over: Mapping[Any, Any], base: Mapping[Any, Any]) -> bool:
    """Whether it chooses another part than the base does."""
    return any(isinstance(over.get(name), str) and over[name] != base.get(name) for name in CHOICES)


def _is_below(place: Place, replaced: set[Place]) -> bool:
    return any(place[:length] in replaced for length in range(1, len(place) + 1))
