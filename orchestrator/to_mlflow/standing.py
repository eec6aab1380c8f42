"""How far sweeps are, as an MLflow has it: for machines that see a tracking server and not the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.errors import NotFound, SweepError, allowed
from orchestrator.to_mlflow.server import ENVIRONMENT

if TYPE_CHECKING:
    from orchestrator.to_mlflow.experiment import Seen

MOST = 3  # runs of a kind that are named
WORDS = {"FINISHED": "finished", "RUNNING": "running", "FAILED": "failed", "KILLED": "cut off"}


@dataclass
class Standing:
    """One sweep; `trials` is how many its last run had to do, and the runs of trials are by status."""

    name: str
    trials: int
    drivers: list[str] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = [f"{len(self.runs.get(status, []))} {word}" for status, word in WORDS.items() if status in self.runs]
        lines = [f"{self.name}: {self.trials} trials; in MLflow {', '.join(counts) or 'none yet'}", *self.drivers]
        for status in ("RUNNING", "FAILED"):
            named = self.runs.get(status, [])
            lines += [f"  {WORDS[status]}: {text}" for text in named[:MOST]]
            lines += [f"  and {len(named) - MOST} more {WORDS[status]}"] if len(named) > MOST else []
        return "\n".join(lines)


def standings(uri: str, name: str | None) -> list[Standing]:
    """The sweeps of a tracking server, or the one of that name.

    Raises:
        NotFound: it has no sweep of that name.
        SweepError: it does not answer, or refuses us.
    """
    for setting, value in ENVIRONMENT.items():  # before MLflow is imported: it would try for minutes
        os.environ.setdefault(setting, value)
    from orchestrator.to_mlflow.experiment import experiments, seen

    try:
        known = experiments(uri)
        if name is not None and name not in known:
            raise NotFound(f"{uri} has no sweep {name!r}; {allowed(name, known)}")
        found = [_standing(one, seen(uri, number)) for one, number in known.items() if name in (None, one)]
    except SweepError:
        raise
    except Exception as error:  # whatever a client, a proxy or a server says
        raise SweepError(f"--tracking-uri {uri}: {_reason(error)}") from error
    return [one for one in found if one is not None]


def _standing(name: str, runs: Iterator[Seen]) -> Standing | None:
    """None for an experiment that no sweep has made."""
    made: Standing | None = None
    begun = 0
    by_status: dict[str, list[str]] = {}
    drivers: list[str] = []
    for run in runs:
        if "sweep.trials" in run.tags:
            if made is None or run.began > begun:
                made, begun = Standing(name, int(run.tags["sweep.trials"])), run.began
            if run.status == "RUNNING":
                since = datetime.fromtimestamp(run.began / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
                drivers.append(f"  run on {run.tags.get('sweep.host', '?')} since {since}")
        elif "sweep.key" in run.tags and "shared" not in run.tags:
            error = f": {run.tags['error']}".splitlines()[0] if "error" in run.tags else ""
            by_status.setdefault(run.status, []).append(run.name + error)
    if made is not None:
        made.drivers, made.runs = sorted(drivers), {status: sorted(named) for status, named in by_status.items()}
    return made


def _reason(error: Exception) -> str:
    """The last part of what MLflow's client says, which repeats each error that led to another."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."
