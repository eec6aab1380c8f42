"""What can be wrong with a request: every message says what, where, what is allowed and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class SweepError(Exception):
    """The request was wrong: shown without a traceback, exit code 2."""

    exit_code = 2


class PlanError(SweepError):
    """A spec that reads well but describes no possible plan."""


class DataError(SweepError):
    """Data that a run needs is missing or damaged."""


class StoreError(SweepError):
    """A store that cannot be read or written."""


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


def allowed(name: object, names: Iterable[object]) -> str:
    """The end of a message: what is allowed, and the nearest match to what was written.

    Example:
        >>> allowed("optimzer", ["model", "optimizer"])
        "allowed: model, optimizer; did you mean 'optimizer'?"
    """
    texts = [str(item) for item in names]
    near = difflib.get_close_matches(str(name), texts, n=1, cutoff=0.6)
    return f"allowed: {', '.join(texts) or 'none'}" + (f"; did you mean {near[0]!r}?" if near else "")
