"""The register of checks, and what one of them finds."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orchestrator.doctor


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: What was found, in a sentence.
        mend: How to mend it; "" where all is well.
        host: Where, if it was not this machine.
        check: Which check found it.
    """

    what: str
    mend: str = ""
    host: str = ""
    check: str = ""

    @property
    def well(self) -> bool:
        return not self.mend

    def __str__(self) -> str:
        place = f"{self.host}: " if self.host else ""
        first = f"{'well   ' if self.well else 'to mend'}  {place}{self.what}"
        return first if self.well else f"{first}\n         -> {self.mend}"

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "well": self.well}


@dataclass(frozen=True)
class Patient:
    """What is looked at.

    Args:
        store: The folder of the results; None where it was not asked for.
        data: The folder of the data sets; None where there is none to be looked at.
        address: A running Ray: host:port, auto, or the URL of its dashboard.
        tracking_uri: An MLflow.
    """

    store: str | None = None
    data: Path | None = None
    address: str | None = None
    tracking_uri: str | None = None


Check = Callable[[Patient], Iterator[Finding]]
_CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Marks a check. Its name is what it is called in the output."""
    _CHECKS[function.__name__] = function
    return function


def examine(patient: Patient) -> Iterator[Finding]:
    """What all checks find, each as soon as it is there. One that fails is a finding too, and ends no other."""
    for module in pkgutil.iter_modules(orchestrator.doctor.__path__):
        importlib.import_module(f"orchestrator.doctor.{module.name}")
    for name, look in _CHECKS.items():
        try:
            for found in look(patient):
                yield Finding(found.what, found.mend, found.host, found.check or name)
        except Exception as error:  # what is broken here is what this is for
            yield Finding(f"{name}: {type(error).__name__}: {error}", "the check itself failed: report this", "", name)
