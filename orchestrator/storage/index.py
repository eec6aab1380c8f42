"""The index: a compact copy of what is finished and of what it cost, so that plans need not open every node.

Each file of `index/` holds one row per node: its key, the batch file it came from ("" for a folder), when it finished,
the outcome as text, and what forecasts learn from (costs.py). The nodes are the truth: what the index lacks, or has in
a damaged file, is read from them, and the next run writes it anew.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.planning.costs import COLUMNS, cost_of
from orchestrator.store import Outcome, Store, from_json, to_json, write_atomically

if TYPE_CHECKING:
    import pyarrow

FOLDER = "index"
FILES = 16  # more than so many are merged into one
ROW = {"key": "string", "source": "string", "finished": "float64", "outcome": "string"}
TYPES = {**ROW, **COLUMNS}


class Held(Mapping[str, Outcome]):
    """Finished nodes; each is parsed when it is looked at.

    Attributes:
        unindexed: Those of them that the index does not have.
        beside: Further nodes that it does not have, which were not asked for.
        costs: What the nodes of the whole index have cost (`costs.COLUMNS`).
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        table: pyarrow.Table,
        unindexed: Mapping[str, Outcome],
        beside: Mapping[str, Outcome],
    ) -> None:
        self._rows, self._texts = rows, table.column("outcome")
        self.unindexed, self.beside = unindexed, beside
        self.costs = table.select([*COLUMNS])
        self._parsed: dict[str, Outcome] = {}

    def __getitem__(self, key: str) -> Outcome:
        if key in self.unindexed:
            return self.unindexed[key]
        if key not in self._parsed:
            self._parsed[key] = from_json(self._texts[self._rows[key]].as_py())
        return self._parsed[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows or key in self.unindexed

    def __iter__(self) -> Iterator[str]:
        yield from self._rows
        yield from self.unindexed

    def __len__(self) -> int:
        return len(self._rows) + len(self.unindexed)


def look(store: Store, keys: Iterable[str]) -> Held:
    """Which of `keys` are finished: the index, checked against the nodes, then the nodes."""
    wanted = set(keys)
    index = _read(store)
    present, folders = store.batches(), store.committed(wanted)
    rows = index.latest(lambda key, source: key in wanted and (source in present if source else key in folders))
    fresh = {item.key: item for _, items in store.rows(but=index.sources) for item in items}
    unindexed = {key: item for key, item in fresh.items() if key in wanted and key not in rows}
    beside = {key: item for key, item in fresh.items() if key not in wanted}
    unindexed |= store.outcomes(folders - rows.keys() - unindexed.keys())
    return Held(rows, index.table, unindexed, beside)


def known(store: Store, keys: Iterable[str]) -> dict[str, Outcome]:
    """The outcomes of those of `keys` that are finished, all of them read."""
    wanted = set(keys)
    return dict(look(store, wanted)) if wanted else {}


def every(store: Store) -> set[str]:
    """The keys of all nodes that may be finished: `look` tells which are."""
    return {*_read(store).keys, *(item.key for _, items in store.rows() for item in items), *store.folders()}


def arrived(store: Store, seen: set[str]) -> dict[str, Outcome]:
    """The rows of the batch files that are not in `seen`, which then are."""
    found: dict[str, Outcome] = {}
    for name, outcomes in store.rows(but=frozenset(seen)):
        seen.add(name)
        found.update({outcome.key: outcome for outcome in outcomes})
    return found


def refresh(store: Store, outcomes: Mapping[str, Outcome]) -> None:
    """Add to the index what it does not have: the store's new batches, and those of `outcomes` that are folders."""
    index = _read(store)
    new = [_row(item, name, size_of(store, item)) for name, items in store.rows(but=index.sources) for item in items]
    folders = index.latest(lambda key, source: not source)
    for item in outcomes.values():
        # One that was damaged and computed again has other checksums, and another time.
        if item.folder and (item.key not in folders or index.finished[folders[item.key]] != _finished(item)):
            new.append(_row(item, "", size_of(store, item)))
    if len(index.files) >= FILES:
        _write(store, new, index.table)
        for path in index.files:
            path.unlink(missing_ok=True)
    elif new:
        _write(store, new)
    store.publish(store.root / FOLDER)


def move(store: Store, moved: Mapping[tuple[str, str], str]) -> None:
    """Rows have moved to another batch file: its name by key and the name of the old one."""
    import pyarrow

    index = _read(store)
    if not moved:
        return
    sources = [moved.get((key, source), source) for key, source in zip(index.keys, index.batches, strict=True)]
    column = index.table.schema.get_field_index("source")
    _write(store, [], index.table.set_column(column, "source", pyarrow.array(sources, pyarrow.string())))
    for path in index.files:
        path.unlink(missing_ok=True)
    store.publish(store.root / FOLDER)


def size_of(store: Store, outcome: Outcome) -> int:
    """Bytes that a node has in the store."""
    if not outcome.folder:
        return len(to_json(outcome))
    with suppress(OSError):
        return sum(entry.stat().st_size for entry in os.scandir(store.node_folder(outcome.key)))
    return 0


@dataclass(frozen=True)
class _Index:
    """Everything indexed, row by row; a node whose files were moved or written anew has several.

    Attributes:
        files: The files of the index, damaged ones too.
    """

    table: pyarrow.Table
    keys: Sequence[str]
    batches: Sequence[str]
    finished: Sequence[float | None]
    files: Sequence[Path]

    @cached_property
    def sources(self) -> frozenset[str]:
        """The batch files that are in it."""
        return frozenset(self.batches) - {""}

    def latest(self, valid: Callable[[str, str], bool]) -> dict[str, int]:
        """key -> its row: of those whose key and batch file are `valid` the one that finished last."""
        found: dict[str, int] = {}
        for row, (key, source) in enumerate(zip(self.keys, self.batches, strict=True)):
            if valid(key, source) and (
                key not in found or (self.finished[row] or 0.0) >= (self.finished[found[key]] or 0.0)
            ):
                found[key] = row
        return found


def _read(store: Store) -> _Index:
    import pyarrow
    import pyarrow.parquet

    schema = _schema()
    files = sorted((store.root / FOLDER).glob("*.parquet"))
    tables: list[pyarrow.Table] = []
    for path in files:
        # Merged by another driver meanwhile, damaged, or of an older version: the nodes are the truth.
        with suppress(OSError, KeyError, ValueError, pyarrow.ArrowException):
            table = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True).read()
            tables.append(table.select(schema.names).cast(schema))
    table = pyarrow.concat_tables(tables or [pyarrow.Table.from_batches([], schema)]).combine_chunks()
    keys, sources, finished = (table.column(name).to_pylist() for name in ("key", "source", "finished"))
    return _Index(table, keys, sources, finished, files)


def _schema() -> pyarrow.Schema:
    import pyarrow

    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in TYPES.items()])


def _row(outcome: Outcome, source: str, size: int) -> dict[str, Any]:
    text = to_json(outcome)
    row = {"key": outcome.key, "source": source, "finished": _finished(outcome), "outcome": text}
    return {**row, **cost_of(outcome, size)}


def _finished(outcome: Outcome) -> float | None:
    time = outcome.meta.get("finished")
    return float(time) if isinstance(time, int | float) else None


def _write(store: Store, rows: list[dict[str, Any]], further: pyarrow.Table | None = None) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(sorted(rows, key=lambda row: row["key"]), _schema())
    if further is not None:
        table = pyarrow.concat_tables([table, further])
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    write_atomically(store.root / FOLDER / f"{uuid.uuid4().hex}.parquet", sink.getvalue().to_pybytes())
