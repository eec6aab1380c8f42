"""The index: a compact copy of what is finished, so that plans need not open every node. Without it they do, and the
next run writes it anew.

Each file of `index/` holds one row per node: its key, the batch file it came from ("" for a folder), and the outcome.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.store import Outcome, Store, from_json, to_json, write_atomically

FILES = 16  # more than so many are merged into one


def known(store: Store, keys: Iterable[str]) -> dict[str, Outcome]:
    """The outcomes of those of `keys` that are finished: the index, checked against the nodes, then the nodes."""
    wanted = set(keys)
    found: dict[str, Outcome] = {}
    sources, indexed, _ = _read(store)
    present = batches(store)
    for key, (source, text) in sources.items():
        if key in wanted and (source in present if source else store.holds(key)):
            found[key] = from_json(text)
    for _, outcomes in store.rows(but=indexed):
        found.update({outcome.key: outcome for outcome in outcomes if outcome.key in wanted})
    for key in wanted - found.keys():
        if outcome := store.outcome(key):
            found[key] = outcome
    return found


def batches(store: Store) -> set[str]:
    """The names of the batch files that there are now."""
    return {path.name for path in store.rows_folder.glob("*.jsonl")}


def arrived(store: Store, seen: set[str]) -> dict[str, Outcome]:
    """The rows of the batch files that are not in `seen`, which then are."""
    found: dict[str, Outcome] = {}
    for name, outcomes in store.rows(but=frozenset(seen)):
        seen.add(name)
        found.update({outcome.key: outcome for outcome in outcomes})
    return found


def refresh(store: Store, outcomes: Mapping[str, Outcome]) -> None:
    """Add to the index what it does not have: the store's new batches, and those of `outcomes` that are folders."""
    sources, indexed, files = _read(store)
    new = [(row.key, name, to_json(row)) for name, rows in store.rows(but=indexed) for row in rows]
    new += [(key, "", to_json(item)) for key, item in outcomes.items() if item.folder and key not in sources]
    if len(files) >= FILES:
        new += [(key, source, text) for key, (source, text) in sources.items()]
    if new:
        _write(store, new)
        for path in files if len(files) >= FILES else []:
            path.unlink(missing_ok=True)


def _files(store: Store) -> list[Path]:
    return sorted((store.root / "index").glob("*.parquet"))


def _read(store: Store) -> tuple[dict[str, tuple[str, str]], frozenset[str], list[Path]]:
    """key -> (batch file, outcome as JSON) of everything indexed; the batch files that are in it; the files read."""
    import pyarrow
    import pyarrow.parquet

    found: dict[str, tuple[str, str]] = {}
    sources: set[str] = set()
    read: list[Path] = []
    for path in _files(store):
        try:
            table = pyarrow.parquet.read_table(path)
            columns = [table.column(name).to_pylist() for name in ("key", "source", "outcome")]
        except (
            OSError,
            KeyError,
            pyarrow.ArrowException,
        ):  # merged by another driver, or damaged: the nodes are the truth
            continue
        found.update({key: (source, text) for key, source, text in zip(*columns, strict=True)})
        sources.update(columns[1])
        read.append(path)
    return found, frozenset(sources - {""}), read


def _write(store: Store, entries: list[tuple[str, str, str]]) -> None:
    import pyarrow
    import pyarrow.parquet

    names = ("key", "source", "outcome")
    columns = zip(*sorted(entries), strict=True) if entries else ([], [], [])
    table = pyarrow.table(
        {name: pyarrow.array(column, pyarrow.string()) for name, column in zip(names, columns, strict=True)}
    )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    write_atomically(store.root / "index" / f"{uuid.uuid4().hex}.parquet", sink.getvalue().to_pybytes())
