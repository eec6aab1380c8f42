"""What can be wrong with a request: every message says what, where, what is allowed and the nearest match."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST = 100  # problems that are told at once
MOST_SHOWN, MOST_COMPARED = 60, 1000  # names in a message, and names among which the nearest is sought


class SweepError(Exception):
    """The request was wrong: shown without a traceback, exit code 2."""

    exit_code = 2


class PlanError(SweepError):
    """A spec that reads well but describes no possible plan."""


class DataError(SweepError):
    """Data that a run needs is missing or damaged."""


class StoreError(SweepError):
    """A store that cannot be read or written."""


class EngineLost(SweepError):
    """Ray has died under a run."""

    exit_code = 1


class NotFound(SweepError):
    """A sweep, node or thing of that name does not exist."""


@dataclass(frozen=True)
class Where:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a sweep file: `field` is the dotted path, `message` says what and what is allowed."""

    where: Where | None
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.field}: {self.message}" if self.field else f"{place}{self.message}"


class SpecError(SweepError):
    """Everything that is wrong with a sweep file, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def printable(text: str) -> str:
    r"""Text as it can stand in a line of a message.

    Example:
        >>> print(printable("a\tb"))
        a\tb
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def field_name(place: Iterable[object]) -> str:
    """Keys and indices as messages name them: `axes.recipe.2`."""
    return ".".join(printable(part) if isinstance(part, str) else json.dumps(part) for part in place)


def allowed(name: object, names: Iterable[object]) -> str:
    """The end of a message: what is allowed, and the nearest match to what was written.

    Example:
        >>> allowed("optimzer", ["model", "optimizer"])
        "allowed: model, optimizer; did you mean 'optimizer'?"
    """
    texts = [printable(str(item)) for item in itertools.islice(names, MOST_COMPARED)]
    near = difflib.get_close_matches(str(name)[:100], texts, n=1, cutoff=0.6)
    shown = texts if len(texts) <= MOST_SHOWN else [*texts[:MOST_SHOWN], "..."]
    return f"allowed: {', '.join(shown) or 'none'}" + (f"; did you mean {near[0]!r}?" if near else "")
