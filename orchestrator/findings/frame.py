"""The records of a sweep as a pandas DataFrame, for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def results(name: str, store: str | Path = "runs") -> pandas.DataFrame:
    """One row per trial of a sweep: its levels (axis.*), metrics (metric.*), status, error, and where it ran (meta.*).

    `name` is a sweep of the store, or the file of a bundle. Columns are those of records/NAME/trials.parquet and keep
    their types: a metric that a trial has not is NaN, a text that it has not is None.

    Raises:
        NotFound: the store has no records of such a sweep.
        StoreError: they are damaged.

    Example:
        import orchestrator
        frame = orchestrator.results("quickstart")
        frame[frame.status == "done"].groupby("axis.fit.width")["metric.test_accuracy"].agg(["mean", "std", "count"])
    """
    from orchestrator import record
    from orchestrator.errors import NotFound, allowed
    from orchestrator.report.bundle import opened

    with opened(name, store) as (found, sweep):
        if not (found.records_folder(sweep) / "trials.parquet").is_file():
            names = sorted(path.parent.name for path in (found.root / "records").glob("*/trials.parquet"))
            raise NotFound(f"{found.uri} holds no records of a sweep {name!r}; {allowed(name, names)}")
        return record.read(found.records_folder(sweep)).to_pandas()
