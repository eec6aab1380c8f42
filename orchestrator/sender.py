"""Spool -> server: reads what drivers spooled, groups it into few calls, and tries until the server has it all.

What was sent is noted in the ledger after it was sent, so after a crash the last batch is sent again: every file begins
each of its runs itself, a run is found by its key, and the rest is the same point, param or tag once more.
"""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.spool import Ledger, Operation, SpoolFile, only_writer, spool_files

POLL = 0.1  # seconds between looks at the spool
LONGEST_PAUSE = 5.0  # seconds between tries while the server fails
PATIENCE = 60.0  # seconds of failures after which a writer whose drivers have all ended gives up
BATCH = 1 << 18  # bytes of spool that are grouped and sent at a time
MAX_ITEMS, MAX_METRICS, MAX_PARAMS, MAX_TAGS = 1000, 1000, 100, 100  # what MLflow takes in one call
Item = tuple[str, Any]
"""A kind, metric | param | tag, and its values."""


class Lost(Exception):
    """The server has not got a run that it had: it was set up anew."""


class Rejected(Exception):
    """The server will never take this."""


class Server(Protocol):
    """One experiment of an MLflow. Every method may raise anything while the server is unwell."""

    def runs(self) -> dict[str, str]:
        """Run ids by our key."""
        ...

    def create(self, run: Operation, parent: str | None) -> str: ...

    def resume(self, run_id: str, run: Operation, parent: str | None, running: bool) -> list[Item]:
        """Go on with a run; what of `run` it lacks. Raises Lost."""
        ...

    def log(self, run_id: str, items: Iterable[Item]) -> None:
        """Raises Rejected: none of the items was taken."""
        ...

    def end(self, run_id: str, status: str, time: int) -> None: ...


@dataclass
class _Batch:
    """What is to be sent of one run, in as few calls as it takes."""

    key: str
    run: Operation | None = None
    items: list[Item] = field(default_factory=list)
    end: Operation | None = None

    def take(self, operation: Operation) -> None:
        match operation["op"]:
            case "run":
                self.run = operation
            case "log":
                self.items += [("metric", tuple(metric)) for metric in operation["metrics"]]
            case "tag":
                self.items += [("tag", pair) for pair in operation["tags"].items()]
            case "end":
                self.end = operation


class Sender:
    """Sends the spool files of one sweep and one target. Hold `only_writer` while it works."""

    def __init__(self, folder: Path, take: str, ledger: Path, connect: Callable[[str], Server], once: bool) -> None:
        self._folder, self._take, self._connect, self._once = folder, take, connect, once
        ledger.parent.mkdir(parents=True, exist_ok=True)
        self._ledger = Ledger.read(ledger)
        self._ledger.rewrite()
        self._server: Server | None = None

    def run(self) -> bool:
        """Send until there is no file left; False where it gave up."""
        failing_since: float | None = None
        pauses = itertools.count()
        while self._files():
            try:
                self._send_files()
                failing_since, pauses = None, itertools.count()
                time.sleep(POLL)
                continue
            except Lost as error:
                print(f"the server was set up anew ({error}): sending all of the spool again", file=sys.stderr)
                self._ledger.forget()
            except Exception:
                traceback.print_exc()
            self._server = None
            failing_since = failing_since or time.monotonic()
            if time.monotonic() - failing_since > PATIENCE / (6 if self._once else 1) and self._no_driver():
                return False
            time.sleep(min(LONGEST_PAUSE, POLL * 2 ** next(pauses)))
        self._ledger.add(clean=True)
        return True

    def _files(self) -> list[SpoolFile]:
        files = spool_files(self._folder, self._take)
        return [file for file in files if file.abandoned()] if self._once else files

    def _no_driver(self) -> bool:
        return all(file.abandoned() for file in self._files())

    def _send_files(self) -> None:
        """Send all that can be read now; remove the files whose drivers have ended."""
        for file in self._files():
            name, finished = file.path.name, file.abandoned()  # asked first: what is read then is all there is
            while True:
                operations, offset = file.read(self._ledger.offsets.get(name, 0), BATCH)
                if not operations:
                    break
                self._send(operations, self._ready(file))
                self._ledger.add(offsets={name: offset})
            if finished:
                if cut := _cut_off(file):
                    self._send(cut, self._ready(file))
                file.path.unlink()
                self._ledger.add(offsets={name: None})

    def _ready(self, file: SpoolFile) -> Server:
        if self._server is None:
            server = self._connect(next(file.all())["experiment"])
            if not self._ledger.clean:
                self._ledger.add(runs=server.runs())
            self._server = server
        return self._server

    def _send(self, operations: Iterable[Operation], server: Server) -> None:
        batches: dict[str, _Batch] = {}
        for operation in operations:
            if "key" not in operation:
                continue
            key = operation["key"]
            if key in batches and batches[key].end is not None:
                self._send_batch(batches.pop(key), server)
            batches.setdefault(key, _Batch(key)).take(operation)
        for batch in batches.values():
            self._send_batch(batch, server)

    def _send_batch(self, batch: _Batch, server: Server) -> None:
        run_id = self._ledger.runs.get(batch.key)
        if batch.run is not None:
            parent = self._ledger.runs.get(batch.run["parent"] or "")
            if run_id is None:
                run_id = server.create(batch.run, parent)
                self._ledger.add(runs={batch.key: run_id})
                batch.items += [("param", pair) for pair in batch.run["params"].items()]
            else:
                batch.items += server.resume(run_id, batch.run, parent, batch.end is None)
        if run_id is None:
            raise Lost(batch.key)
        for items in in_calls(batch.items):
            self._log(run_id, items, server)
        if batch.end is not None:
            server.end(run_id, batch.end["status"], batch.end["time"])
            if "what" in batch.end:
                self._ledger.add(ended={batch.key: batch.end["what"]})

    def _log(self, run_id: str, items: list[Item], server: Server) -> None:
        """Log the items; where some are refused, all the others."""
        try:
            server.log(run_id, items)
        except Rejected as error:
            if len(items) == 1:
                print(f"MLflow refuses {items[0]} of run {run_id}: {error}", file=sys.stderr)
                return
            middle = len(items) // 2
            self._log(run_id, items[:middle], server)
            self._log(run_id, items[middle:], server)


def in_calls(items: Iterable[Item]) -> list[list[Item]]:
    """The items in order, in as many lists as MLflow's limits for one call ask for.

    Example:
        >>> [len(call) for call in in_calls([("param", ("x", "1"))] * 150 + [("tag", ("y", "2"))])]
        [100, 51]
    """
    limits: Mapping[str, int] = {"metric": MAX_METRICS, "param": MAX_PARAMS, "tag": MAX_TAGS}
    calls: list[list[Item]] = []
    left: dict[str, int] = {}
    for item in items:
        if not calls or left[item[0]] == 0 or len(calls[-1]) == MAX_ITEMS:
            calls.append([])
            left = dict(limits)
        calls[-1].append(item)
        left[item[0]] -= 1
    return calls


def _cut_off(file: SpoolFile) -> list[Operation]:
    """What ends the runs that a driver, which was killed, has begun and not ended."""
    begun: dict[str, None] = {}
    for operation in file.all():
        if operation["op"] == "run":
            begun[operation["key"]] = None
        elif operation["op"] == "end":
            begun.pop(operation["key"], None)
    time_of_death = int(file.path.stat().st_mtime * 1000)
    return [{"op": "end", "key": key, "status": "KILLED", "time": time_of_death} for key in begun]


def send(folder: Path, take: str, ledger: Path, connect: Callable[[str], Server], once: bool) -> bool:
    """Send a folder's files for `take` until there are none; False where some are left.

    Args:
        once: Leave alone the files of drivers that run.
    """
    while spool_files(folder, take):
        with only_writer(folder, {take, ledger.stem}) as mine:
            if mine:
                return Sender(folder, take, ledger, connect, once).run()
        if once:
            print("another process is sending this", file=sys.stderr)
            return False
        time.sleep(POLL)
    return True
