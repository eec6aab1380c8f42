"""The tables whose every format is pinned in tests/golden/tables/; `python tests/golden/tables.py` writes them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow
import pyarrow.parquet

from orchestrator.findings.origins import comment
from orchestrator.findings.render import render
from orchestrator.report.contents import ENDINGS
from orchestrator.spec import TableSpec
from orchestrator.tables import Table, table, to_arrow

FOLDER = Path(__file__).resolve().parent / "tables"
PUBLISHED = """\
start,width,metric,value,spread,statistic,n
random,64,test_accuracy,94.1%,0.3%,mean_std,5
"adversarial, μ² = 0.1",64,test_accuracy,70.5%,1.2%,mean_se,10
random,,test_loss,0.21,,,
"""


def records() -> pyarrow.Table:
    """Two starts, two widths, five seeds; what can go wrong does in some of them."""
    rows = []
    for at, start in enumerate(("random", "adversarial, μ² = 0.1")):
        for width in (16, 64):
            for seed in range(5):
                wave = math.sin(7 * seed + width + at)
                row: dict[str, Any] = {"axis.start": start, "axis.fit.width": width, "axis.seed": seed}
                row |= {"metric.test_accuracy": 0.94 - 0.2 * at + wave / 200, "metric.test_loss": 0.2 + at + wave / 50}
                row |= {"status": "done", "error": None, "meta.trial": f"t{at}{width}{seed}", "meta.commit": "c0ffee"}
                row["meta.node.fit"] = f"{at}{width}{seed}" * 10
                rows.append(row)
    rows[6] |= {"metric.test_accuracy": None, "metric.test_loss": None, "status": "missing"}
    rows[7] |= {"metric.test_accuracy": None, "metric.test_loss": None, "status": "failed", "error": "fit: ValueError"}
    rows[12] |= {"metric.test_loss": math.nan}
    rows[19] |= {"metric.test_accuracy": 0.1, "status": "diverged"}
    return pyarrow.Table.from_pylist(rows)


def made() -> dict[str, Table]:
    """One table of each statistic; the first has the published values beside ours, another pools an axis."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "paper.csv").write_text(PUBLISHED, encoding="utf-8")

        def of(name: str, **fields: Any) -> Table:
            spec: dict[str, Any] = {"rows": ("start",), "columns": ("fit.width",), "paper": None, "title": None}
            spec |= {"values": ("test_accuracy", "test_loss"), "statistic": name}
            return table(TableSpec(**{"name": name, **spec, **fields}), records(), Path(folder))

        return {
            "mean_std": of(
                "mean_std",
                title="Which 100% start_wins & why?",
                paper="paper.csv",
                best={"test_accuracy": "max", "test_loss": "min"},
            ),
            "mean_se": of("mean_se", values=("test_loss",), decimals=2, best="min", best_in="row"),
            "mean_ci": of("mean_ci", rows=("start", "fit.width"), columns=()),
            "mean_min_max": of("mean_min_max", columns=(), values=("test_accuracy",), decimals=1, best="max"),
            "median_iqr": of("median_iqr", rows=("fit.width",), columns=("start",)),
        }


def contents() -> Iterator[tuple[str, str]]:
    """Name and text of every golden file; of Parquet its schema and values."""
    for name, item in made().items():
        for format, ending in ENDINGS.items():
            below = comment(item, records()) if format == "latex" else ""
            yield f"{name}.{ending}", render(item, format) + below
        sink = io.BytesIO()
        pyarrow.parquet.write_table(to_arrow(item), sink)
        again = pyarrow.parquet.read_table(io.BytesIO(sink.getvalue()))
        schema = {field.name: str(field.type) for field in again.schema}
        yield f"{name}.parquet.json", json.dumps({"schema": schema, "rows": again.to_pylist()}, indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in contents():
        (FOLDER / name).write_text(text, encoding="utf-8")
