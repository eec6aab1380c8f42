"""The store: a folder that holds everything a sweep made. Nodes are the truth; all else can be derived from them.

    nodes/<ab>/<key>/       weights.safetensors, start.safetensors, arrays.npz, history.parquet as the node has them;
                            outcome.json is written last, with the others' checksums: it commits the node
    nodes/rows/*.jsonl      outcomes without files, one immutable file per committed batch
    failed/<key>.json       the last failure of a node, with its traceback
    work/<key>/             what a node needs to go on: its lease, checkpoints
    index/*.parquet         what is finished and what it cost (index.py)
    calibration.json        how fast arrays of which size were here; a cache
    records/<NAME>/  sweeps/<NAME>/  spool/  mlflow.db  mlartifacts/

Every file is written under a temporary name in the same folder, synced, then renamed, so no half file is ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import StoreError

if TYPE_CHECKING:
    import pyarrow

Scalar = str | int | float | bool | None
OUTCOME = "outcome.json"
FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """How a finished node ended.

    Attributes:
        metrics: float64 by name, as the workload returned them.
        start: `KEY` of the node whose weights it started from, or None if it holds its own `start.safetensors`.
        seconds: Wall time of the run on its worker.
        meta: Host, device, versions, times: everything that may differ between equal results.
        files: sha256 by file name; empty for a row.
    """

    key: str
    workload: str
    status: Literal["done", "diverged"]
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    seed: int
    start: str | None
    seconds: float
    meta: Mapping[str, Scalar]
    files: Mapping[str, str]

    @property
    def folder(self) -> bool:
        return bool(self.files)


@dataclass(frozen=True)
class Failure:
    """Why a node has no outcome: `error` is the traceback's last line."""

    key: str
    error: str
    traceback: str
    meta: Mapping[str, Scalar]


@dataclass(frozen=True)
class Store:
    """The paths and the reading and writing of nodes; safe for many processes at once."""

    root: Path

    @classmethod
    def at(cls, uri: str | Path) -> Store:
        """The store at a local folder; touches nothing.

        Raises:
            StoreError: `uri` is no local folder, or holds a store of another format.
        """
        text = str(uri)
        if "://" in text and not text.startswith("file://"):
            raise StoreError(f"--store {text}: object stores are not supported yet; allowed: a local folder")
        store = cls(Path(text.removeprefix("file://")).expanduser().absolute())
        _check_format(store.root)
        return store

    def prepare(self) -> Store:
        """Make the folder where it is missing.

        Raises:
            StoreError: the folder cannot be written.
        """
        marker = self.root / "store.json"
        try:
            if not marker.exists():
                write_atomically(marker, json.dumps({"format": FORMAT}))
        except OSError as error:
            raise StoreError(f"--store {self.root}: {error.strerror or error}") from error
        return self

    def node_folder(self, key: str) -> Path:
        return self.root / "nodes" / key[:2] / key

    def work_folder(self, key: str) -> Path:
        return self.root / "work" / key

    def records_folder(self, name: str) -> Path:
        return self.root / "records" / name

    def sweep_folder(self, name: str) -> Path:
        return self.root / "sweeps" / name

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def rows_folder(self) -> Path:
        return self.root / "nodes" / "rows"

    def commit_folder(self, outcome: Outcome, write: Mapping[str, Any]) -> Outcome:
        """Write a node with files: each value of `write` is called with the path to write; returns it with checksums.

        A node that another process committed meanwhile is left as it is, and returned instead of ours.
        """
        target = self.node_folder(outcome.key)
        temporary = target.parent / f".{outcome.key}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        try:
            for name, write_to in write.items():
                write_to(temporary / name)
            files = {name: _sync_and_hash(temporary / name) for name in write}
            committed = Outcome(**{**asdict(outcome), "files": files})
            write_atomically(temporary / OUTCOME, to_json(committed))
            _sync_folder(temporary)
            moved = self._move_in(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return committed if moved else self.outcome(outcome.key) or committed

    def _move_in(self, temporary: Path, target: Path) -> bool:
        """Whether the node is ours: False where another process has committed it first."""
        moved = True
        try:
            os.rename(temporary, target)
        except OSError:
            if not (target / OUTCOME).exists():  # a folder without its outcome is no node: make room
                shutil.rmtree(target, ignore_errors=True)
                os.rename(temporary, target)
            else:
                shutil.rmtree(temporary, ignore_errors=True)
                moved = False
        _sync_folder(target.parent)
        return moved

    def commit_rows(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes without files, all or none."""
        if outcomes:
            text = "".join(to_json(outcome) + "\n" for outcome in outcomes)
            write_atomically(self.rows_folder / f"{uuid.uuid4().hex}.jsonl", text)

    def outcome(self, key: str) -> Outcome | None:
        """The outcome of a node with files; rows are read all at once by `rows`."""
        try:
            return from_json((self.node_folder(key) / OUTCOME).read_text())
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self.node_folder(key) / OUTCOME}: not an outcome of this version ({error})") from error

    def holds(self, key: str) -> bool:
        """Whether a node with files is committed, without reading it."""
        return (self.node_folder(key) / OUTCOME).exists()

    def rows(self, but: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[Outcome]]]:
        """The outcomes of every batch file whose name is not in `but`, by file name."""
        if not self.rows_folder.is_dir():
            return
        for path in sorted(self.rows_folder.glob("*.jsonl")):
            if path.name not in but:
                yield path.name, _read_rows(path)

    def fail(self, failure: Failure) -> None:
        write_atomically(self.root / "failed" / f"{failure.key}.json", json.dumps(asdict(failure), indent=1))

    def failure(self, key: str) -> Failure | None:
        try:
            return Failure(**json.loads((self.root / "failed" / f"{key}.json").read_text()))
        except FileNotFoundError:
            return None

    def forget_failure(self, key: str) -> None:
        (self.root / "failed" / f"{key}.json").unlink(missing_ok=True)

    def history(self, key: str) -> pyarrow.Table | None:
        """What the node logged, one row per step; None if it logged nothing."""
        import pyarrow.parquet

        path = self.node_folder(key) / "history.parquet"
        return pyarrow.parquet.read_table(path) if path.exists() else None

    def weights(self, outcome: Outcome, name: str = "weights.safetensors") -> dict[str, Any]:
        """The tensors of one file of a node, checked against its checksum.

        Raises:
            StoreError: the file is missing or damaged.
        """
        import safetensors.torch

        path = self.node_folder(outcome.key) / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{path}: missing; remove {path.parent} to compute the node again") from None
        if hashlib.sha256(content).hexdigest() != outcome.files.get(name):
            raise StoreError(f"{path}: damaged (checksum differs); remove {path.parent} to compute the node again")
        return safetensors.torch.load(content)


@lru_cache(maxsize=10_000)
def _read_rows(path: Path) -> list[Outcome]:
    """The outcomes of a batch file; a file never changes, so each process reads it once."""
    return [from_json(line) for line in path.read_text().splitlines()]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Temporary name in the same folder, fsync, rename: a reader sees the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_and_hash(path: Path) -> str:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_format(root: Path) -> None:
    try:
        found = json.loads((root / "store.json").read_text()).get("format")
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        raise StoreError(f"{root / 'store.json'}: not a store's marker ({error})") from error
    if found != FORMAT:
        raise StoreError(f"{root}: written in store format {found}; this version reads {FORMAT}")


_SPECIAL = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def to_json(outcome: Outcome) -> str:
    """One line of strict JSON; non-finite metrics are the words nan, inf, -inf."""
    values = asdict(outcome)
    values["metrics"] = {k: v if v - v == 0 else str(float(v)) for k, v in outcome.metrics.items()}
    return json.dumps(values, sort_keys=True, allow_nan=False)


def from_json(text: str) -> Outcome:
    values = json.loads(text)
    values["metrics"] = {k: _SPECIAL[v] if isinstance(v, str) else v for k, v in values["metrics"].items()}
    return Outcome(**values)
