"""What a run leaves in OUT: results, failures, checkpoints. All is written under a temporary name, synced and renamed.

OUT/nodes.json              the package's, so that OUT says by itself what its results are results of
OUT/nodes/KEY/              result.json, weights.safetensors, start.safetensors, arrays.npz, history.json and
                            artifacts.zip as it has them
OUT/failed/KEY.json         why a node has no result
OUT/work/KEY/               the checkpoint of a node under way
OUT/measured.json           how fast arrays of which size were on this machine
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from workloads.alone import artifacts, tensors
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
    Number,
    PackageError,
    dump,
    load,
)
from workloads.contract import Result

MEASURED = "measured.json"
Writer = Callable[[Path], None]
_ROWS: TypeAdapter[list[dict[str, float]]] = TypeAdapter(list[dict[str, int | Number]], config=ConfigDict(strict=True))


class Results:
    """The folder OUT of one package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def refuse_others(self, package: bytes) -> None:
        """See that the folder is absent, empty, or this package's.

        Raises:
            PackageError: it holds something else.
        """
        marker = self.folder / NODES
        if marker.is_file():
            if marker.read_bytes() != package:
                raise PackageError(f"{self.folder}: holds the results of another package; name another folder")
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.glob("[!.]*"))):
            raise PackageError(f"{self.folder}: neither empty nor the results of a package; name another folder")

    def prepare(self, package: bytes) -> None:
        """Make the folder where it is missing.

        Raises:
            PackageError: it cannot be written.
        """
        try:
            if not (self.folder / NODES).is_file():
                write_atomically(self.folder / NODES, lambda path: _write_bytes(package, path))
        except OSError as error:
            raise PackageError(f"{self.folder}: {error.strerror or error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the folder: another run would write the same checkpoints.

        Raises:
            PackageError: another one is at work there, or the folder cannot be written.
        """
        lock = self.folder / ".lock"
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise PackageError(f"{lock}: {error.strerror or error}") from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PackageError(f"{self.folder}: another run is at work there") from None
            yield
        finally:
            os.close(file)

    def node(self, key: str) -> Path:
        return self.folder / "nodes" / key

    def work(self, key: str) -> Path:
        return self.folder / "work" / key

    def computed(self, key: str) -> Computed | None:
        """The result of a node, None if it has none.

        Raises:
            PackageError: it is damaged.
        """
        path = self.node(key) / RESULT
        return load(Computed, path) if path.exists() else None

    def failure(self, key: str) -> Path:
        return self.folder / "failed" / f"{key}.json"

    def commit(self, computed: Computed, result: Result, history: Sequence[Mapping[str, float]]) -> Computed:
        """Keep a result, all of it or nothing; returns it with its files' checksums."""
        target = self.node(computed.key)
        temporary = target.parent / f".{computed.key}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        try:
            files = {}
            for name, write in _writers(result, history, artifacts.kept(self.work(computed.key))).items():
                write(temporary / name)
                files[name] = _sync_and_hash(temporary / name)
            computed = computed.model_copy(update={"files": files})
            _write_bytes(dump(computed).encode(), temporary / RESULT)
            _sync_and_hash(temporary / RESULT)
            os.rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        shutil.rmtree(self.work(computed.key), ignore_errors=True)
        self.failure(computed.key).unlink(missing_ok=True)
        return computed

    def fail(self, failed: Failed) -> None:
        write_atomically(self.failure(failed.key), lambda path: _write_bytes(dump(failed).encode(), path))

    def remove_weights(self, computed: Computed) -> Computed:
        """Let the tensors of a result go; it says so before they are gone."""
        gone = sorted({WEIGHTS, START} & computed.files.keys())
        if gone:
            left = {name: digest for name, digest in computed.files.items() if name not in gone}
            computed = computed.model_copy(update={"files": left, "removed": [*computed.removed, *gone]})
            text = dump(computed).encode()
            write_atomically(self.node(computed.key) / RESULT, lambda path: _write_bytes(text, path))
        for name in computed.removed:
            (self.node(computed.key) / name).unlink(missing_ok=True)
        return computed

    def measured(self) -> dict[str, Mapping[str, float]]:
        """How fast arrays were, as an earlier run of this folder found."""
        try:
            return json.loads((self.folder / MEASURED).read_text())
        except (OSError, ValueError):
            return {}

    def keep_measured(self, measured: Mapping[str, Mapping[str, float]]) -> None:
        text = json.dumps({label: dict(rates) for label, rates in measured.items()}, indent=1, sort_keys=True).encode()
        write_atomically(self.folder / MEASURED, lambda path: _write_bytes(text, path))

    def sweep_up(self) -> None:
        """Remove what a killed run was writing."""
        for path in self.folder.glob("nodes/.*"):
            shutil.rmtree(path, ignore_errors=True)


def write_atomically(path: Path, write: Writer) -> None:
    """A reader sees the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        write(temporary)
        _sync_and_hash(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_and_hash(path: Path) -> str:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _writers(result: Result, history: Sequence[Mapping[str, float]], kept: dict[str, Path]) -> dict[str, Writer]:
    """What to write for a result, by file name."""
    writers: dict[str, Writer] = {}
    if result.weights is not None:
        writers[WEIGHTS] = partial(_write_tensors, result.weights)
    if isinstance(result.start, Mapping):
        writers[START] = partial(_write_tensors, result.start)
    if result.arrays:
        writers[ARRAYS] = partial(_write_arrays, result.arrays)
    if history:
        writers[HISTORY] = partial(_write_history, history)
    if kept:
        writers[ARTIFACTS] = partial(artifacts.pack, kept)
    return writers


def _write_tensors(named: Mapping[str, Any], path: Path) -> None:
    tensors.write(path, named)


def _write_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    import numpy  # only where a result has arrays: then it is there

    with open(path, "wb") as file:
        numpy.savez_compressed(file, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})


def _write_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    path.write_text(rows_to_json(history))


def rows_to_json(rows: Sequence[Mapping[str, float]]) -> str:
    """Strict JSON; a value that is not finite is the word nan, inf or -inf."""
    plain = [{name: value if value - value == 0 else str(value) for name, value in row.items()} for row in rows]
    return json.dumps(plain, allow_nan=False)


def rows_from_json(text: str | bytes) -> list[dict[str, float]]:
    """The rows of `rows_to_json`.

    Raises:
        ValueError: the text is no such thing.
    """
    return _ROWS.validate_python(json.loads(text))
