"""`sweep table` and `sweep claims`: what the records say."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import record
from orchestrator.commands.request import saved_spec
from orchestrator.errors import NotFound, SweepError, allowed
from orchestrator.report.bundle import opened

if TYPE_CHECKING:
    import pyarrow

    from orchestrator.store import Store
    from orchestrator.tables import Table


def table_command(request: Namespace) -> int:
    """`sweep table`: the tables of a sweep from its records, or where one number of them comes from."""
    from orchestrator import tables
    from orchestrator.findings import origins
    from orchestrator.findings.render import render

    with opened(request.name, request.store) as (store, sweep):
        spec = saved_spec(store, sweep)
        sourced = request.explain is not None or request.format == "latex"
        records = record.read(store.records_folder(sweep), ("",) if sourced else record.PRINTED)
        if not spec.tables:
            raise NotFound(f"{sweep} has no tables: its file has no `tables:`")
        if request.table is not None and request.table not in spec.tables:
            raise NotFound(f"{sweep} has no table {request.table!r}; {allowed(request.table, spec.tables)}")
        wanted = [item for name, item in spec.tables.items() if request.table in (None, name)]
        made = [tables.table(item, records, store.sweep_folder(sweep)) for item in wanted]
        if request.explain is not None:
            text = _explained(request, made, records, store, sweep)
        elif request.format == "parquet":
            _write_parquet(made, request.output)
            return 0
        else:
            text = "\n\n".join(render(item, request.format).rstrip("\n") for item in made) + "\n"
    if request.format == "latex":
        text += "".join(origins.comment(item, records) for item in made)
    if request.output:
        _write_output(request.output, text.encode())
    else:
        sys.stdout.write(text)
    return 0


def _explained(request: Namespace, made: list[Table], records: pyarrow.Table, store: Store, sweep: str) -> str:
    from orchestrator.findings import origins

    if request.format not in ("text", "json"):
        raise SweepError(f"--explain with --format {request.format}; {allowed(request.format, ('text', 'json'))}")
    if len(made) != 1:
        names = [item.name for item in made]
        raise SweepError(f"--explain is about one table: name it with --table; {allowed('', names)}")
    cell = origins.find(made[0], request.explain)
    found = origins.Origins(made[0], records).of(*cell)
    if request.format == "json":
        return origins.as_json(made[0], cell, found, store)
    return origins.explained(made[0], cell, found, store, sweep)


def claims_command(request: Namespace) -> int:
    """`sweep claims`: the verdicts; exit code 1 if one is refuted."""
    from orchestrator.claims import judge_all
    from orchestrator.findings import power
    from orchestrator.findings.verdicts import render_verdicts, tally

    with opened(request.name, request.store) as (store, sweep):
        spec = saved_spec(store, sweep)
        records = record.read(store.records_folder(sweep))
    verdicts = judge_all(spec.claims.values(), records)
    if not request.json and (said := record.partial(records)):
        print(said)
    if not request.json and not verdicts:
        print(f"{sweep} has no claims: its file has no `claims:`")
        return 0
    print(render_verdicts(verdicts, "json" if request.json else "text"))
    if not request.json and (said := tally(verdicts)):
        print(said)
    if not request.json and (least := min((item.n for item in verdicts if item.n > 1), default=None)):
        print(power.sentence(least))
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
