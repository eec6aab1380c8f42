"""The spool between the driver and whoever writes to MLflow: files of JSON lines, and a ledger of what has been sent.

A driver appends operations to a file of its own and holds a lock on it while it lives, so a reader can tell a driver
that is silent from one that is gone. Where each file was read to, and which run every key became, is in the ledger.
All of it lies on the driver's own disk: the locks are `flock`.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.store import write_atomically

Operation = Mapping[str, Any]
Exhibited = Callable[[], Mapping[str, Any]]
"""Makes what the run above the others shows in the end: `files` and `texts` by name."""


class Spool:
    """The driver's end: appends operations to `FOLDER/<time>-<pid>.<target>.jsonl`. Never raises once it is open.

    Raises:
        OSError: the folder or the file cannot be made.
    """

    def __init__(self, folder: Path, target: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{time.time_ns()}-{os.getpid()}.{target}.jsonl"
        making = self.path.with_suffix(".new")
        self._file = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.rename(making, self.path)  # locked before it has a name that readers look for
        self._unwritten = b""

    def append(self, operations: Iterable[Operation]) -> None:
        """Hand operations to the operating system: they outlive this process. On a full disk they wait in memory."""
        self._unwritten += b"".join(json.dumps(item, separators=(",", ":")).encode() + b"\n" for item in operations)
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
        except OSError:
            return

    def release(self) -> None:
        """Give up the lock: whatever is in the file is all there will be."""
        fcntl.flock(self._file, fcntl.LOCK_UN)  # also for whoever inherited it
        os.close(self._file)


@dataclass(frozen=True)
class SpoolFile:
    """The reader's end of one driver's file."""

    path: Path

    def read(self, offset: int, limit: int = 1 << 20) -> tuple[list[dict[str, Any]], int]:
        """Complete lines from `offset` (bytes) on, about `limit` bytes of them, and the offset behind them."""
        with open(self.path, "rb") as file:
            file.seek(offset)
            content = file.read(limit)
            if content and b"\n" not in content:
                content += file.readline()
        content = content[: content.rfind(b"\n") + 1]
        return [json.loads(line) for line in content.splitlines()], offset + len(content)

    def all(self, offset: int = 0) -> Iterator[dict[str, Any]]:
        while True:
            operations, offset = self.read(offset)
            if not operations:
                return
            yield from operations

    def abandoned(self) -> bool:
        """Whether its driver has ended."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True


def spool_files(folder: Path, target: str) -> list[SpoolFile]:
    """The files for `target`, oldest driver first."""
    return [SpoolFile(path) for path in sorted(folder.glob(f"*.{target}.jsonl"))]


def spool_targets(folder: Path) -> list[str]:
    """The targets that files wait for."""
    return sorted({path.name.split(".")[1] for path in folder.glob("*.*.jsonl")})


@contextmanager
def only_writer(folder: Path, targets: Iterable[str]) -> Iterator[bool]:
    """Hold the right to send the spool of `targets`; False where another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for target in sorted(set(targets)):
            file = stack.enter_context(open(folder / f"{target}.lock", "ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
        yield True


@dataclass
class Ledger:
    """What one MLflow has of a sweep. Appended to; a line that a crash cut off is ignored.

    Attributes:
        runs: MLflow's run id by our key.
        ended: By key of a finished run, what it was finished with (a digest).
        offsets: By file name, the bytes that were sent.
        clean: Whether the last writer ended in order: if not, MLflow may have runs that are not here.
        experiment: MLflow's number of the experiment, "" while it is not known.
    """

    path: Path
    runs: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    clean: bool = False
    experiment: str = ""
    _torn: bool = field(default=False, compare=False)  # the last line may be half written: the disk was full

    @classmethod
    def read(cls, path: Path) -> Ledger:
        made = cls(path)
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return made
        for line in lines:
            made._take(_entry(line))
        return made

    def _take(self, entry: Mapping[str, Any]) -> None:
        self.clean = entry.get("clean", False)
        self.experiment = entry.get("experiment", self.experiment)
        for name, known in (("runs", self.runs), ("ended", self.ended), ("offsets", self.offsets)):
            for key, value in entry.get(name, {}).items():
                if value is None:
                    known.pop(key, None)
                else:
                    known[key] = value

    def add(self, **entry: Any) -> None:
        """Add to `runs`, `ended`, `offsets` (None removes) or set `clean` and `experiment`."""
        self._take(entry)
        if self._torn:
            return self.rewrite()
        self._torn = True
        with open(self.path, "ab") as file:
            file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._torn = False

    def rewrite(self) -> None:
        """Keep in the file only what still counts, and all of that."""
        self._torn = True
        kept = {"runs": self.runs, "ended": self.ended, "offsets": self.offsets}
        entry = {**kept, "clean": self.clean, "experiment": self.experiment}
        write_atomically(self.path, json.dumps(entry, separators=(",", ":")) + "\n")
        self._torn = False

    def forget(self) -> None:
        """Start over: MLflow has lost what this says it has."""
        self.runs, self.ended, self.offsets, self.clean, self.experiment = {}, {}, {}, False, ""
        self.rewrite()


def _entry(line: bytes) -> dict[str, Any]:
    """A line of the ledger; nothing for one that a crash or a full disk cut off."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
