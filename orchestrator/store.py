"""The store: a folder that holds everything a sweep made. Nodes are the truth; all else can be derived from them.

    nodes/<ab>/<key>/       weights.safetensors, start.safetensors, arrays.npz, history.parquet as the node has them;
                            outcome.json is written last, with the others' checksums: it commits the node
                            artifacts/ what the workload logged as such
    nodes/rows/*.jsonl      outcomes without files, one immutable file per committed batch
    failed/<key>.json       the last failure of a node, with its traceback
    damaged/<key>-*/        nodes whose files were not what was written; computed again, kept to be looked at
    work/<key>/             what a node needs to go on: its lease, checkpoints
    index/*.parquet         what is finished and what it cost (index.py)
    calibration.json        how fast arrays of which size were here; a cache
    records/<NAME>/  sweeps/<NAME>/  spool/  mlflow.db  mlartifacts/

Every file is written under a temporary name in the same folder, synced, then renamed, so no half file is ever read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import StoreError
from orchestrator.storage.outcome import Failure, Outcome, Scalar, from_json, to_json
from orchestrator.storage.writing import sync_and_hash, sync_folder, write_atomically, writing

if TYPE_CHECKING:
    import numpy
    import pyarrow

__all__ = [
    "FORMAT",
    "OUTCOME",
    "Damaged",
    "Failure",
    "Outcome",
    "Scalar",
    "Store",
    "from_json",
    "to_json",
    "write_atomically",
]
OUTCOME = "outcome.json"
ARRAYS = "arrays.npz"
FORMAT = 1


class Damaged(StoreError):
    """A finished node is not, or no longer, what was written: it is to be computed again.

    Attributes:
        key: The node.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(message)


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

        Raises:
            NotWritable: the disk is full, or takes nothing any more; nothing of the node is left then.
        """
        target = self.node_folder(outcome.key)
        temporary = target.parent / f".{outcome.key}-{uuid.uuid4().hex[:8]}"
        with writing(target):
            try:
                temporary.mkdir(parents=True)
                for name, write_to in write.items():
                    write_to(temporary / name)
                files = {name: sync_and_hash(temporary / name) for name in write}
                committed = Outcome(**{**asdict(outcome), "files": files})
                write_atomically(temporary / OUTCOME, to_json(committed))
                sync_folder(temporary)
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
            if self.outcome(target.name) is None:  # a folder without a sound outcome is no node: make room
                self.set_aside(target.name)
                os.rename(temporary, target)
            else:
                shutil.rmtree(temporary, ignore_errors=True)
                moved = False
        sync_folder(target.parent)
        return moved

    def set_aside(self, key: str) -> Path | None:
        """Move a node that is damaged out of the way, to be computed again; where to, None if it is sound or gone.

        Raises:
            NotWritable: the store takes nothing any more.
        """
        folder, aside = self.node_folder(key), self.root / "damaged" / f"{key}-{uuid.uuid4().hex[:8]}"
        if self._sound(key):
            return None
        with writing(aside):
            aside.parent.mkdir(exist_ok=True)
            try:
                os.rename(folder, aside)
            except FileNotFoundError:  # another worker was faster
                return None
        return aside

    def _sound(self, key: str) -> bool:
        """Whether a node is there and its files are what was written; reads all of them."""
        outcome = self.outcome(key)
        try:
            return outcome is not None and all(
                hashlib.sha256((self.node_folder(key) / name).read_bytes()).hexdigest() == digest
                for name, digest in outcome.files.items()
            )
        except OSError:
            return False

    def commit_rows(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes without files, all or none."""
        if outcomes:
            text = "".join(to_json(outcome) + "\n" for outcome in outcomes)
            write_atomically(self.rows_folder / f"{uuid.uuid4().hex}.jsonl", text)

    def outcome(self, key: str) -> Outcome | None:
        """The outcome of a node with files, None where there is none or it is damaged; `rows` reads those without."""
        try:
            return from_json((self.node_folder(key) / OUTCOME).read_text())
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def holds(self, key: str) -> bool:
        """Whether a node with files was committed, without reading it."""
        return (self.node_folder(key) / OUTCOME).exists()

    def rows(self, but: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[Outcome]]]:
        """The outcomes of every batch file whose name is not in `but`, by file name."""
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = os.listdir(self.rows_folder)
        for name in sorted(name for name in names if name.endswith(".jsonl") and name not in but):
            yield name, read_rows(self.rows_folder / name)

    def fail(self, failure: Failure) -> None:
        write_atomically(self.root / "failed" / f"{failure.key}.json", json.dumps(asdict(failure), indent=1))

    def failure(self, key: str) -> Failure | None:
        try:
            return Failure(**json.loads((self.root / "failed" / f"{key}.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def forget_failure(self, key: str) -> None:
        (self.root / "failed" / f"{key}.json").unlink(missing_ok=True)

    def history(self, outcome: Outcome) -> pyarrow.Table | None:
        """What a node logged, one row per step; None if it logged nothing.

        Raises:
            Damaged: the file is not what was written.
        """
        import pyarrow
        import pyarrow.parquet

        if "history.parquet" not in outcome.files:
            return None
        return pyarrow.parquet.read_table(pyarrow.BufferReader(self._content(outcome, "history.parquet")))

    def weights(self, outcome: Outcome, name: str = "weights.safetensors") -> dict[str, Any]:
        """The tensors of one file of a node.

        Raises:
            Damaged: the file is not what was written.
        """
        import safetensors.torch

        return safetensors.torch.load(self._content(outcome, name))

    def arrays(self, outcome: Outcome) -> dict[str, numpy.ndarray]:
        """The arrays of a node by name; {} if it has none.

        Raises:
            Damaged: the file is not what was written.
        """
        import numpy

        if ARRAYS not in outcome.files:
            return {}
        with numpy.load(io.BytesIO(self._content(outcome, ARRAYS)), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def _content(self, outcome: Outcome, name: str) -> bytes:
        path = self.node_folder(outcome.key) / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise Damaged(outcome.key, f"{path}: missing") from None
        except OSError as error:
            raise Damaged(outcome.key, f"{path}: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != outcome.files.get(name):
            raise Damaged(outcome.key, f"{path}: damaged (its checksum differs)")
        return content


@lru_cache(maxsize=10_000)
def read_rows(path: Path) -> list[Outcome]:
    """The outcomes of a batch file, but for damaged lines; a file never changes, so each process reads it once."""
    found = []
    content = b""
    with suppress(FileNotFoundError):  # `sweep gc` may have removed it
        content = path.read_bytes()
    for line in content.splitlines():
        with suppress(ValueError, TypeError, KeyError, AttributeError):  # its node is computed again
            found.append(from_json(line.decode()))
    return found


def _check_format(root: Path) -> None:
    try:
        found = json.loads((root / "store.json").read_text()).get("format")
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        raise StoreError(f"{root / 'store.json'}: not a store's marker ({error})") from error
    if found != FORMAT:
        raise StoreError(f"{root}: written in store format {found}; this version reads {FORMAT}")
