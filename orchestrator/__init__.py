"""The sweep orchestrator: spec -> plan -> frontier -> execute -> store -> records -> tables.

In Python: `orchestrator.results("NAME", store="runs")` is a sweep's records as a pandas DataFrame.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

__all__ = ["results"]


def results(name: str, store: str | Path = "runs") -> pandas.DataFrame:
    """The records of a sweep, or of a bundle: one row per trial. See `findings.frame.results`."""
    from orchestrator.findings.frame import results as read  # loads pandas

    return read(name, store)
