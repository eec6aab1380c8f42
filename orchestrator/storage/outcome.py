"""How nodes ended, as frozen values, and as lines of JSON that say themselves whether they are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import printable

OUTCOME = "outcome.json"  # the last file of a node: commits it
Scalar = str | int | float | bool | None
_CHECK = ', "sha256": '  # before the last field of a line: the checksum of all before it


@dataclass(frozen=True)
class Outcome:
    """How a finished node ended.

    Attributes:
        metrics: float64 by name, as the workload returned them.
        start: `KEY` of the node whose weights it started from, or None if it holds its own `start.safetensors`.
        seconds: Wall time of the run on its worker.
        meta: Host, device, versions, times: everything that may differ between equal results.
        files: sha256 by file name; empty for a row.
    """

    key: str
    workload: str
    status: Literal["done", "diverged"]
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    seed: int
    start: str | None
    seconds: float
    meta: Mapping[str, Scalar]
    files: Mapping[str, str]

    @property
    def folder(self) -> bool:
        return bool(self.files)


@dataclass(frozen=True)
class Failure:
    """Why a node has no outcome: `error` is the end of the traceback, in one line.

    Whatever a workload, a library or another machine said, both are text that a screen, Parquet and MLflow take.
    """

    key: str
    error: str
    traceback: str
    meta: Mapping[str, Scalar]

    def __post_init__(self) -> None:
        lines = (line.strip() for line in self.error.splitlines())
        object.__setattr__(self, "error", printable(" ".join(filter(None, lines))))
        object.__setattr__(self, "traceback", self.traceback.encode(errors="backslashreplace").decode())


_SPECIAL = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def to_json(outcome: Outcome) -> str:
    """One line of strict JSON with its checksum; non-finite metrics are the words nan, inf, -inf."""
    values = asdict(outcome)
    values["metrics"] = {k: v if v - v == 0 else str(float(v)) for k, v in outcome.metrics.items()}
    text = json.dumps(values, sort_keys=True, allow_nan=False)[:-1]
    return f'{text}{_CHECK}"{_digest(text)}"}}'


def from_json(text: str) -> Outcome:
    """The outcome of such a line; of one from before there were checksums too.

    Raises:
        ValueError: it is damaged.
        TypeError: its fields are not those of this version.
    """
    before, found, check = text.rstrip().rpartition(_CHECK)
    if found and check != f'"{_digest(before)}"}}':
        raise ValueError("the checksum differs")
    values = json.loads(f"{before}}}" if found else text)
    if not isinstance(values, dict):
        raise ValueError("not an object")
    values["metrics"] = {k: _SPECIAL[v] if isinstance(v, str) else v for k, v in values.get("metrics", {}).items()}
    return Outcome(**values)


@lru_cache(maxsize=10_000)
def read_rows(path: Path) -> list[Outcome]:
    """The outcomes of a batch file, but for damaged lines; a file never changes, so each process reads it once."""
    found = []
    content = b""
    with suppress(FileNotFoundError):  # `sweep gc` may have removed it
        content = path.read_bytes()
    for line in content.splitlines():
        with suppress(ValueError, TypeError, KeyError, AttributeError):  # its node is computed again
            found.append(from_json(line.decode()))
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
