"""The store in an object store: what is there counts, and a folder of this host mirrors what was needed of it.

    nodes/<ab>/<key>/<digest>/<file>    the files of a node, by checksum: two hosts never write over each other's
    nodes/<ab>/<key>/outcome.json       commits it: the last object, and put only where none is; the first commit wins
    nodes/rows/<time>-*.jsonl           outcomes without files (batches.py)
    work/leases/  work/drivers/         who computes what (bucketboard.py); in the object store only
    work/<key>/                         checkpoints, so that another host can go on (underway.py)
    failed/ damaged/ logs/ index/ records/ sweeps/      as in a folder (store.py)

The mirror has the layout of a local store, and may be removed when nothing runs. On this host alone lie in it spool/,
mlflow.db, mlartifacts/, calibration.json, and unsent/: nodes that were finished while the object store was away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from orchestrator.errors import StoreError
from orchestrator.storage.batches import Batches
from orchestrator.storage.board import Board
from orchestrator.storage.bucket import Bucket
from orchestrator.storage.bucketboard import BucketBoard
from orchestrator.storage.connection import Unreachable, refusal
from orchestrator.storage.contents import Damaged
from orchestrator.storage.inventory import BucketInventory, FolderInventory, Inventory
from orchestrator.storage.marker import check_format, marker
from orchestrator.storage.mirror import Mirror, plain
from orchestrator.storage.nodeobjects import NodeObjects, commit_name, file_name
from orchestrator.storage.outcome import OUTCOME, Failure, Outcome, to_json
from orchestrator.storage.underway import UnderWay
from orchestrator.storage.writing import write_atomically, writing
from orchestrator.store import Store

READ = ("sweeps", "index", "failed")  # what commands read, beside the records of a sweep


@dataclass(frozen=True)
class RemoteStore(Store):
    """A store in a bucket; `root` is its mirror on this host."""

    bucket: Bucket
    _pulled: set[str] = field(default_factory=set, compare=False)

    @staticmethod
    @lru_cache
    def of(uri: str) -> RemoteStore:
        """The store at `s3://bucket/prefix`; asks nobody.

        Raises:
            StoreError: `uri` is none, or boto3 is missing.
        """
        bucket = Bucket.at(uri)
        default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sweep-orchestrator" / "stores"
        mirrors = Path(os.environ.get("SWEEP_STORE_CACHE") or default).expanduser().absolute()
        name = hashlib.sha256(f"{bucket.endpoint} {bucket}".encode()).hexdigest()[:16]
        return RemoteStore(mirrors / name, bucket)

    @property
    def uri(self) -> str:
        return str(self.bucket)

    @property
    def board(self) -> Board:
        return self._board

    @cached_property
    def _board(self) -> Board:
        return BucketBoard(self.bucket)

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self.root, self.bucket)

    @property
    def _nodes(self) -> NodeObjects:
        return NodeObjects(self.bucket)

    @cached_property
    def _under_way(self) -> UnderWay:
        return UnderWay(self.root, self.bucket)

    @property
    def mirror(self) -> Mirror:
        return Mirror(self.root, self.bucket)

    def prepare(self) -> RemoteStore:
        """Mark the store as one where it is new, and send what could not be sent before.

        Raises:
            StoreError: it is of another format, or cannot write by condition.
            Unreachable: it cannot be used.
        """
        mark = marker().encode()
        if self.bucket.create("store.json", mark) and self.bucket.create("store.json", mark):
            raise refusal(self.uri, "writes over what it should not (If-None-Match: * is not heeded)")
        self._check()
        return self.join()

    def join(self) -> RemoteStore:
        self.bucket.is_there()
        for path in sorted((self.root / "unsent").glob("[!.]*")):  # others are being written, or were cut off
            with suppress(FileNotFoundError, ValueError):  # another process of this host has sent it; damaged
                self._send_again(path)
        return self

    def _send_again(self, path: Path) -> None:
        if path.is_dir():
            self._nodes.send(path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            renamed = path.with_name(self.new_batch())  # who looks for what is new shall see it
            os.rename(path, renamed)
            self.bucket.put(f"nodes/rows/{renamed.name}", renamed.read_bytes())
            renamed.unlink(missing_ok=True)

    def inventory(self) -> Inventory:
        return BucketInventory(self.bucket, FolderInventory(self.root))

    def refresh(self, *folders: str) -> RemoteStore:
        if not folders:
            self._pulled.clear()
            self._check()
        for folder in folders or READ:
            self.mirror.pull(folder)
        return self

    def _check(self) -> None:
        found = self.bucket.get("store.json")
        try:
            if found is not None:
                write_atomically(self.root / "store.json", found.content)
                write_atomically(self.root / "uri", self.uri)
        except OSError as error:
            raise StoreError(f"{self.root}, the mirror of {self.uri}: {error.strerror or error}") from error
        check_format(self.root)

    def fetch(self, path: Path) -> Path:
        self.mirror.bring(path.relative_to(self.root).as_posix())
        return path

    def publish(self, path: Path) -> None:
        name = path.relative_to(self.root).as_posix()
        if path.is_dir():
            self.mirror.push(name)
        elif path.exists():
            self.mirror.push_file(name)

    def send(self, path: Path) -> None:
        self.mirror.send(path.relative_to(self.root).as_posix())

    def records_folder(self, name: str) -> Path:
        """Brought when it is first asked for."""
        folder = f"records/{name}"
        if folder not in self._pulled:
            self._pulled.add(folder)
            self.mirror.pull(folder)
        return super().records_folder(name)

    def outcome(self, key: str) -> Outcome | None:
        return self._nodes.outcome(key)

    def holds(self, key: str) -> bool:
        return self._nodes.holds(key)

    def outcomes(self, keys: Iterable[str]) -> dict[str, Outcome]:
        wanted = [*keys]
        found = zip(wanted, self.bucket.many(self.outcome, wanted), strict=True)
        return {key: outcome for key, outcome in found if outcome is not None}

    def committed(self, wanted: Collection[str]) -> set[str]:
        return self._nodes.committed(wanted)

    def folders(self) -> set[str]:
        return self._nodes.all()

    def batches(self) -> set[str]:
        return self._batches.all()

    def rows(self, but: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[Outcome]]]:
        return self._batches.rows(but)

    def row(self, key: str) -> Outcome | None:
        return self._batches.row(key)

    def new_batch(self) -> str:
        return self._batches.new()

    def commit_rows(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            self._batches.commit(outcomes)

    def _move_in(self, temporary: Path, target: Path) -> bool:
        try:
            ours = self._nodes.send(temporary)
        except Unreachable:
            unsent = self.root / "unsent" / temporary.name.removeprefix(".")
            unsent.parent.mkdir(exist_ok=True)
            os.rename(temporary, unsent)
            raise
        if ours:
            _drop(target)
            with suppress(OSError):  # another process of this host has brought it
                os.rename(temporary, target)
        shutil.rmtree(temporary, ignore_errors=True)
        return ours

    def set_aside(self, key: str) -> Path | None:
        aside = self._nodes.set_aside(key)
        if aside is not None:
            _drop(self.node_folder(key))
        return None if aside is None else self.root / aside

    def files(self, key: str) -> list[str]:
        outcome = self.outcome(key)
        names = (
            [] if outcome is None else [commit_name(key), *(file_name(outcome, name) for name in sorted(outcome.files))]
        )
        return [f"{self.uri}/{name}" for name in names]

    def content(self, outcome: Outcome, name: str) -> bytes:
        """The file of the mirror, if it is what was written; else that of the store."""
        with suppress(Damaged):
            return super().content(outcome, name)
        place = file_name(outcome, name)
        if not plain(name) or not self._fetch_file(outcome, name):
            raise Damaged(outcome.key, f"{self.uri}/{place}: missing")
        with suppress(Damaged):
            return super().content(outcome, name)
        raise Damaged(outcome.key, f"{self.uri}/{place}: damaged (its checksum differs)")

    def _fetch_file(self, outcome: Outcome, name: str) -> bool:
        path = self.node_folder(outcome.key) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
        with writing(path):
            try:
                found = self.bucket.fetch(file_name(outcome, name), temporary)
                if found:
                    os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        return found

    def bring(self, outcome: Outcome, names: Iterable[str]) -> None:
        write_atomically(self.node_folder(outcome.key) / OUTCOME, to_json(outcome))
        for name in names:
            with suppress(Damaged):
                self.content(outcome, name)

    def fail(self, failure: Failure) -> None:
        super().fail(failure)
        self.mirror.push_file(f"failed/{failure.key}.json")

    def forget_failure(self, key: str) -> None:
        """Those that this host knows of."""
        if (self.root / "failed" / f"{key}.json").exists():
            self.bucket.remove(f"failed/{key}.json")
            super().forget_failure(key)

    def take_up(self, key: str) -> None:
        self._under_way.take_up(key)

    def keep_work(self, key: str) -> None:
        self._under_way.keep(key)

    def forget_work(self, key: str) -> None:
        self._under_way.forget(key)


def _drop(folder: Path) -> None:
    """Remove a node from the mirror; nobody sees half of it."""
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    with suppress(OSError):
        os.rename(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)
