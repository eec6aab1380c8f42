"""`sweep import`: what `python -m workloads run` computed, into the store, as if it had been computed here."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import SweepError
from orchestrator.running.files import files_of
from orchestrator.storage import index
from orchestrator.store import Failure, Outcome, Store
from workloads.alone.package import (
    ARRAYS,
    ARTIFACTS,
    HISTORY,
    NODES,
    RESULT,
    START,
    WEIGHTS,
    Computed,
    Failed,
    Package,
    PackageError,
    PackageNode,
    load,
    read_package,
    verified,
)
from workloads.alone.results import rows_from_json
from workloads.contract import Result

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class Found:
    """What a folder of results holds."""

    folder: Path
    computed: Sequence[Computed]
    failed: Sequence[Failed]

    def place(self, key: str) -> Path:
        return self.folder / "nodes" / key


def import_results(folders: Sequence[Path], store: Store) -> str:
    """Check all of the results, then add to the store what it lacks; returns what was added.

    Raises:
        SweepError: a folder holds no results, or damaged ones, or others than its package names; nothing is written.
    """
    try:
        everything = [_read(folder) for folder in folders]
    except PackageError as error:
        raise SweepError(str(error)) from error
    known = index.known(store, {item.key for found in everything for item in found.computed})
    there = len({item.key for found in everything for item in found.computed if item.key in known})
    new: dict[str, tuple[Found, Computed]] = {}
    for found in everything:
        new.update({item.key: (found, item) for item in found.computed if item.key not in known and not item.removed})
    left_out = {item.key for found in everything for item in found.computed if item.removed} - known.keys() - new.keys()
    _commit(store.prepare(), new)
    failed = _fail(store, everything)
    parts = [f"{len(new)} nodes added", f"{there} were there", f"{failed} failed there"]
    if left_out:
        parts.append(f"{len(left_out)} left out, as their weights were not kept")
    return ", ".join(parts)


def _commit(store: Store, new: dict[str, tuple[Found, Computed]]) -> None:
    rows: list[Outcome] = []
    folders: dict[str, Outcome] = {}
    for key, (found, item) in new.items():
        outcome = _outcome(item)
        result, history, kept = _contents(found.place(key), item)
        if files := files_of(result, history, kept):
            folders[key] = store.commit_folder(outcome, files)
        else:
            rows.append(outcome)
    store.commit_rows(rows)
    for key in new:
        store.forget_failure(key)
    index.refresh(store, folders)


def _outcome(item: Computed) -> Outcome:
    return Outcome(
        key=item.key,
        workload=item.workload,
        status=item.status,
        metrics=item.metrics,
        config=item.config,
        seed=item.seed,
        start=item.start,
        seconds=item.seconds,
        meta=item.meta,
        files={},
    )


def _fail(store: Store, everything: Sequence[Found]) -> int:
    """Failures become the store's, so that `sweep status` counts them."""
    failed = {item.key: item for found in everything for item in found.failed}
    done = index.known(store, failed)
    for key, item in failed.items():
        if key not in done:
            store.fail(Failure(key, item.error, item.traceback, item.meta))
    return len(failed.keys() - done.keys())


def _read(folder: Path) -> Found:
    """The results of a folder, every file of them checked, in the order of the package: inputs first."""
    if not (folder / NODES).is_file():
        raise PackageError(f"{folder}: no results; `python -m workloads run DIR OUT` makes them")
    package = read_package(folder)
    computed: list[Computed] = []
    for key, path in _files(package, {path.parent.name: path for path in folder.glob(f"nodes/[!.]*/{RESULT}")}):
        item = load(Computed, path)
        _check(package.by_key[key], item, path)
        _contents(path.parent, item)
        computed.append(item)
    failures = _files(package, {path.stem: path for path in folder.glob("failed/[!.]*.json")})
    failed = [load(Failed, path) for _, path in failures]
    if wrong := [path for (key, path), item in zip(failures, failed, strict=True) if item.key != key]:
        raise PackageError(f"{wrong[0]}: of another node")
    return Found(folder, computed, failed)


def _files(package: Package, found: Mapping[str, Path]) -> list[tuple[str, Path]]:
    if strange := found.keys() - package.by_key.keys():
        raise PackageError(f"{found[min(strange)]}: of a node that is not in the package")
    return [(key, found[key]) for key in package.by_key if key in found]


def _check(node: PackageNode, item: Computed, path: Path) -> None:
    """The key cannot be worked out without the data: what it stands for must be what the package says."""
    for name in ("key", "workload", "config", "seed"):
        if getattr(item, name) != getattr(node, name):
            raise PackageError(f"{path}: {name} is not that of node {node.key} in the package")
    if item.start is not None and item.start not in map(str, node.inputs.values()):
        raise PackageError(f"{path}: started from {item.start}, which is no input of the node in the package")


def _contents(place: Path, item: Computed) -> tuple[Result, list[dict[str, float]], dict[str, bytes]]:
    """What the files of a result hold: only so much is read as this format has, nothing is unpickled."""
    from workloads.alone import artifacts, tensors

    content = {name: verified(place / name, digest) for name, digest in item.files.items()}
    try:
        found = {name: tensors.read(content[name])[0] for name in (WEIGHTS, START) if name in content}
        rows = rows_from_json(content[HISTORY]) if HISTORY in content else []
        arrays = _arrays(content[ARRAYS]) if ARRAYS in content else {}
        kept = artifacts.unpack(content[ARTIFACTS]) if ARTIFACTS in content else {}
    except ValueError as error:
        raise PackageError(f"{place}: damaged: {error}") from error
    return Result(item.metrics, item.status, found.get(WEIGHTS), found.get(START), arrays), rows, kept


def _arrays(content: bytes) -> dict[str, numpy.ndarray]:
    import zipfile

    import numpy

    try:
        with numpy.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(f"{ARRAYS}: {error}") from error
