"""`sweep table` and `sweep claims`: what the records say."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator import record
from orchestrator.commands.request import saved_spec
from orchestrator.errors import NotFound, SweepError, allowed
from orchestrator.report.bundle import opened


def table_command(request: Namespace) -> int:
    """`sweep table`: the tables of a sweep from its records."""
    from orchestrator import tables
    from orchestrator.results.render import render

    with opened(request.name, request.store) as (store, sweep):
        spec = saved_spec(store, sweep)
        records = record.read(store.records_folder(sweep), record.PRINTED)
        if request.table is not None and request.table not in spec.tables:
            raise NotFound(f"{sweep} has no table {request.table!r}; {allowed(request.table, spec.tables)}")
        wanted = [item for name, item in spec.tables.items() if request.table in (None, name)]
        made = [tables.table(item, records, store.sweep_folder(sweep)) for item in wanted]
    if request.format == "parquet":
        _write_parquet(made, request.output)
        return 0
    text = "\n\n".join(render(item, request.format).rstrip("\n") for item in made) + "\n"
    if request.output:
        _write_output(request.output, text.encode())
    else:
        sys.stdout.write(text)
    return 0


def claims_command(request: Namespace) -> int:
    """`sweep claims`: the verdicts; exit code 1 if one is refuted."""
    from orchestrator.claims import judge_all
    from orchestrator.results.verdicts import render_verdicts

    with opened(request.name, request.store) as (store, sweep):
        spec = saved_spec(store, sweep)
        records = record.read(store.records_folder(sweep))
    verdicts = judge_all(spec.claims.values(), records)
    print(render_verdicts(verdicts, "json" if request.json else "text"))
    return 1 if any(verdict.verdict == "refuted" for verdict in verdicts) else 0


def _write_parquet(made: Iterable[Any], output: Path | None) -> None:
    import pyarrow.parquet

    from orchestrator.tables import to_arrow

    items = [*made]
    if output is None or len(items) != 1:
        raise SweepError(
            "--format parquet writes one table to a file: give --output FILE, and --table where there are several"
        )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(to_arrow(items[0]), sink)
    _write_output(output, sink.getvalue().to_pybytes())


def _write_output(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SweepError(f"--output {path}: {error.strerror or error}") from error
