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

import json
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.storage.board import Board, FolderBoard
from orchestrator.storage.contents import ARRAYS, Contents, Damaged
from orchestrator.storage.inventory import FolderInventory, Inventory
from orchestrator.storage.marker import check_format, local_folder, marker, refuse_unseen
from orchestrator.storage.outcome import OUTCOME, Failure, Outcome, Scalar, from_json, read_rows, to_json
from orchestrator.storage.writing import sync_and_hash, sync_folders, write_atomically, writing

__all__ = [
    "ARRAYS",
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
FEW = 256  # so many nodes are looked for one by one; more by listing the folders that they would be in


def is_remote(uri: str) -> bool:
    """Whether `--store` names no folder; `s3:/bucket`, with a slash too few, is none either."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", uri) is not None


@dataclass(frozen=True)
class Store(Contents):
    """The paths and the reading and writing of nodes; safe for many processes at once.

    What is empty here has a meaning where the store is elsewhere and its folder on this host a mirror (remote.py).
    """

    @staticmethod
    def at(uri: str | Path) -> Store:
        """The store at a local folder, or in an object store; touches nothing but the mark of a local one.

        Raises:
            StoreError: `uri` is neither, or holds a store of another format.
        """
        text = str(uri).removeprefix("file://")
        if is_remote(text):
            from orchestrator.storage.remote import RemoteStore

            return RemoteStore.of(text)
        store = Store(local_folder(text))
        check_format(store.root)
        return store

    @property
    def uri(self) -> str:
        """What `--store` names it by."""
        return str(self.root)

    @property
    def board(self) -> Board:
        return FolderBoard(self.root / "work")

    def inventory(self) -> Inventory:
        return FolderInventory(self.root)

    def refresh(self, *folders: str) -> Store:
        """Bring what has changed of these folders, by default of all that commands read; returns the store."""
        return self

    def join(self) -> Store:
        """Be used by a worker of a run, whose driver has made the store; returns the store.

        Raises:
            NotWritable: this machine does not see it.
        """
        refuse_unseen(self.root)
        return self

    def fetch(self, path: Path) -> Path:
        """Bring one file of the store, if it has it; returns the path."""
        return path

    def publish(self, path: Path) -> None:
        """Send a file of the store, or all of a folder that has changed."""

    def send(self, path: Path) -> None:
        """Send a file of the store that is written once and is not brought by `refresh`."""

    def bring(self, outcome: Outcome, names: Iterable[str]) -> None:
        """See that files of a node lie in its folder; one that cannot be had does not."""

    def take_up(self, key: str) -> None:
        """Bring what was kept of a node that another host has begun."""

    def keep_work(self, key: str) -> None:
        """Send what is kept of a node that is under way."""

    def forget_work(self, key: str) -> None:
        """Remove what was kept of a node that is finished now."""
        shutil.rmtree(self.work_folder(key), ignore_errors=True)

    def prepare(self) -> Store:
        """Make the folder where it is missing.

        Raises:
            StoreError: the folder cannot be written.
        """
        mark = self.root / "store.json"
        try:
            if not mark.exists():
                write_atomically(mark, marker())
        except OSError as error:
            raise StoreError(f"--store {self.root}: {error.strerror or error}") from error
        return self

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
                sync_folders(*{(temporary / name).parent for name in write}, temporary)
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
        sync_folders(target.parent, target.parent.parent)
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
        """Whether a node is there, its files are what was written, and its history can be read; reads all of them."""
        outcome = self.outcome(key)
        if outcome is None:
            return False
        try:
            for name in outcome.files:
                self.content(outcome, name)
            self.history(outcome)
        except Damaged:
            return False
        return True

    def new_batch(self) -> str:
        """A name for a batch file that no other has."""
        return f"{uuid.uuid4().hex}.jsonl"

    def commit_rows(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes without files, all or none."""
        if outcomes:
            text = "".join(to_json(outcome) + "\n" for outcome in outcomes)
            write_atomically(self.rows_folder / self.new_batch(), text)

    def outcome(self, key: str) -> Outcome | None:
        """The outcome of a node with files, None where there is none or it is damaged; `rows` reads those without."""
        try:
            return from_json((self.node_folder(key) / OUTCOME).read_text())
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def holds(self, key: str) -> bool:
        """Whether a node with files was committed, without reading it."""
        return (self.node_folder(key) / OUTCOME).exists()

    def outcomes(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """The outcomes of those of `keys` that are nodes with files."""
        return {key: outcome for key in keys if (outcome := self.outcome(key)) is not None}

    def row(self, key: str) -> Outcome | None:
        """The outcome of a node without files."""
        return next((item for _, items in self.rows() for item in items if item.key == key), None)

    def committed(self, wanted: Collection[str]) -> set[str]:
        """Those of `wanted` that are committed with files."""
        if len(wanted) <= FEW:
            return {key for key in wanted if self.holds(key)}
        listed: set[str] = set()
        for prefix in {key[:2] for key in wanted}:
            with suppress(OSError):
                listed.update(os.listdir(self.root / "nodes" / prefix))
        nodes = os.fspath(self.root / "nodes")
        return {key for key in listed.intersection(wanted) if os.path.exists(f"{nodes}/{key[:2]}/{key}/{OUTCOME}")}

    def folders(self) -> set[str]:
        """The keys of all nodes that may be committed with files."""
        listed = (os.listdir(folder) for folder in (self.root / "nodes").glob("[0-9a-f][0-9a-f]"))
        return {name for names in listed for name in names if not name.startswith(".")}

    def batches(self) -> set[str]:
        """The names of the batch files that there are now."""
        with suppress(FileNotFoundError):
            return {name for name in os.listdir(self.rows_folder) if name.endswith(".jsonl")}
        return set()

    def rows(self, but: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[Outcome]]]:
        """The outcomes of every batch file whose name is not in `but`, by file name."""
        for name in sorted(self.batches() - but):
            yield name, read_rows(self.rows_folder / name)

    def files(self, key: str) -> list[str]:
        """Where what the store has of a node with files lies."""
        return [str(path) for path in sorted(self.node_folder(key).rglob("*")) if path.is_file()]

    def fail(self, failure: Failure) -> None:
        write_atomically(self.root / "failed" / f"{failure.key}.json", json.dumps(asdict(failure), indent=1))

    def failure(self, key: str) -> Failure | None:
        try:
            return Failure(**json.loads((self.root / "failed" / f"{key}.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def forget_failure(self, key: str) -> None:
        (self.root / "failed" / f"{key}.json").unlink(missing_ok=True)
