"""The schema of records, as files of this and of earlier versions have it, and as other programs may have left it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow

from orchestrator.errors import StoreError

VERSION = "1"
AXIS = "axis."
METRIC = "metric."
STATUSES = ("done", "diverged", "failed", "skipped", "missing")
AGAIN = "`sweep run` writes it again from the nodes"


def load(path: Path, only: tuple[str, ...] = ("",), filters: Any = None) -> pyarrow.Table:
    """The columns of a Parquet file whose names begin with one of `only`.

    Raises:
        StoreError: it is damaged.
    """
    import pyarrow.parquet

    try:
        if filters is not None:
            return pyarrow.parquet.read_table(path, filters=filters)
        file = pyarrow.parquet.ParquetFile(path)
        return file.read([name for name in file.schema_arrow.names if name.startswith(only)])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path}: damaged ({str(error).splitlines()[0]}); {AGAIN}") from error


def conform(table: pyarrow.Table, path: Path) -> pyarrow.Table:
    """Records with the types of this version: metrics float64, texts strings, `error` there; all else as it is.

    Raises:
        StoreError: it is no records of a sweep, or of a later version.
    """
    found = (table.schema.metadata or {}).get(b"schema", VERSION.encode()).decode(errors="replace")
    if found.isdigit() and int(found) > int(VERSION):
        raise StoreError(f"{path}: records of schema {found}; this version reads {VERSION}: take a later one")
    if "status" not in table.column_names:
        raise StoreError(f"{path}: no records of a sweep: it has no column 'status'; {AGAIN}")
    for place, field in enumerate(table.schema):
        wanted = _wanted(field)
        if wanted != field.type:
            try:
                column = table.column(place).cast(wanted)
            except (pyarrow.ArrowException, ValueError) as error:
                message = f"{path}: column {field.name!r} is {field.type} and should be {wanted}; {AGAIN}"
                raise StoreError(message) from error
            table = table.set_column(place, pyarrow.field(field.name, wanted), column)
    unknown = set(table["status"].unique().to_pylist()) - {*STATUSES}
    if unknown:
        raise StoreError(f"{path}: a status {next(iter(unknown))!r}; allowed: {', '.join(STATUSES)}; {AGAIN}")
    return table


def _wanted(field: pyarrow.Field) -> pyarrow.DataType:
    """The type that a column should have: pandas and others write texts as large strings or dictionaries."""
    found = field.type.value_type if pyarrow.types.is_dictionary(field.type) else field.type
    if field.name.startswith(METRIC):
        return pyarrow.float64()
    if field.name in ("status", "error"):
        return pyarrow.string()
    return pyarrow.string() if pyarrow.types.is_large_string(found) or pyarrow.types.is_null(found) else found
