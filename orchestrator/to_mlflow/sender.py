"""Spool -> server: reads what drivers spooled, groups it into few calls, and tries until the server has it all.

What was sent is noted in the ledger after it was sent, so after a crash the last batch is sent again: every file begins
each of its runs itself, a run is found by its key, and of the rest the server takes once what it is told twice. Points
of a run that is taken up again are compared with those that it has: their times may differ, they are not doubled.
"""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.to_mlflow.batch import (
    Batch,
    Item,
    Lost,
    Point,
    Rejected,
    Server,
    as_fits,
    identity,
    in_calls,
    in_turn,
    plain,
)
from orchestrator.to_mlflow.spool import Ledger, Operation, SpoolFile, only_writer, spool_files

POLL = 0.1  # seconds between looks at the spool
LONGEST_PAUSE = 5.0  # seconds between tries while the server fails
SAMPLES = "system/"
PATIENCE = 60.0  # seconds of failures after which a writer whose drivers have all ended gives up


class Sender:
    """Sends the spool files of one sweep and one target. Hold `only_writer` while it works."""

    def __init__(self, folder: Path, take: str, ledger: Path, connect: Callable[[str], Server], once: bool) -> None:
        self._folder, self._take, self._connect, self._once = folder, take, connect, once
        ledger.parent.mkdir(parents=True, exist_ok=True)
        self._ledger = Ledger.read(ledger)
        self._ledger.rewrite()
        self._server: Server | None = None
        self._resumed: dict[str, set[Point] | None] = {}  # the points of runs taken up again; None while not asked

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
                operations, offset = file.read(self._ledger.offsets.get(name, 0), self._ready(file).batch_bytes)
                if not operations:
                    break
                self._send(operations, self._ready(file), {name: offset})
            if finished:
                if cut := _cut_off(file):
                    self._send(cut, self._ready(file), {})
                file.path.unlink()
                self._ledger.add(offsets={name: None})

    def _ready(self, file: SpoolFile) -> Server:
        if self._server is None:
            server = self._connect(next(file.all())["experiment"])
            self._resumed.clear()
            found = {} if self._ledger.clean else server.runs()
            new = {key: run for key, run in found.items() if self._ledger.runs.get(key) != run}
            self._ledger.add(runs=new, experiment=server.experiment)  # not clean from here: what fails is looked for
            self._server = server
        return self._server

    def _send(self, operations: Iterable[Operation], server: Server, offsets: Mapping[str, int]) -> None:
        """Send operations, then note in the ledger what was made and ended, and how far the file was read."""
        sending = _Sending(server, dict(self._ledger.runs), self._resumed)
        with server.batch():
            for batches in in_turn(operations):
                sending.send(batches)
        new = {key: run for key, run in sending.runs.items() if self._ledger.runs.get(key) != run}
        if offsets or new or sending.ended:
            self._ledger.add(runs=new, ended=sending.ended, offsets=offsets)


@dataclass
class _Sending:
    """What is sent at a time, and what has become of it."""

    server: Server
    runs: dict[str, str]
    resumed: dict[str, set[Point] | None]
    ended: dict[str, str] = field(default_factory=dict)

    def send(self, batches: list[Batch]) -> None:
        for batch in batches:  # those above the others come first, and links need the ids of all
            if batch.run is not None:
                self._begin(batch, batch.run)
        there = [batch for batch in batches if self._is_there(batch)]
        if self.server.parallel > 1 and len(there) > 1:
            with ThreadPoolExecutor(self.server.parallel) as pool:
                for _ in pool.map(self._fill, there):
                    pass
        else:
            for batch in there:
                self._fill(batch)

    def _is_there(self, batch: Batch) -> bool:
        """Whether the run is there; False for one that never was, of which there is nothing but links to say.

        Raises:
            Lost: it is not there any more.
        """
        if batch.key in self.runs:
            return True
        if batch.items or batch.artifacts or batch.end:
            raise Lost(batch.key)
        return False

    def _begin(self, batch: Batch, run: Operation) -> None:
        parent = self.runs.get(run["parent"] or "")
        run_id = self.runs.get(batch.key)
        if run_id is None:
            self.runs[batch.key] = self.server.create(run, parent)
            batch.items += [("param", pair) for pair in run["params"].items()]
        else:
            batch.items += self.server.resume(run_id, run, parent, batch.end is None)
            self.resumed[run_id] = None

    def _fill(self, batch: Batch) -> None:
        run_id = self.runs[batch.key]
        self._link(batch)
        if run_id in self.resumed:
            batch.items = self._lacking(run_id, batch.items)
        for items in in_calls(batch.items):
            self._log(run_id, items)
        if batch.run is not None and batch.run.get("datasets"):
            self.server.inputs(run_id, batch.run["datasets"])
        for operation in batch.artifacts:
            self.server.artifacts(run_id, operation)
        if batch.end is not None:
            self.server.end(run_id, batch.end["status"], batch.end["time"])
            self.resumed.pop(run_id, None)
            if "what" in batch.end:
                self.ended[batch.key] = batch.end["what"]

    def _lacking(self, run_id: str, items: list[Item]) -> list[Item]:
        """The items without the points that a run, which was taken up again, has."""
        if not any(kind == "metric" for kind, _ in items):
            return items
        had = self.resumed[run_id]
        if had is None:
            had = self.resumed[run_id] = {identity(*point) for point in self.server.points(run_id)}
        return [item for item in items if item[0] != "metric" or _is_new(item[1], had)]

    def _link(self, batch: Batch) -> None:
        """The runs that a run is linked to, as a tag and in its notes; what is not there yet is left out."""
        for operation in batch.links.values():
            known = [(self.runs[key], name) for key, name in operation["to"] if key in self.runs]
            ids = as_fits([run_id for run_id, _ in known], ", ")
            links = [
                f"- [{plain(name)}](#/experiments/{self.server.experiment}/runs/{run_id})" for run_id, name in known
            ]
            if ids:
                note = f"**{operation['title']}**\n\n" + as_fits(links, "\n")
                batch.items += [("tag", (operation["tag"], ids)), ("tag", ("mlflow.note.content", note))]

    def _log(self, run_id: str, items: list[Item]) -> None:
        """Log the items; where some are refused, all the others."""
        try:
            self.server.log(run_id, items)
        except Rejected as error:
            if len(items) == 1:
                print(f"MLflow refuses {items[0]} of run {run_id}: {error}", file=sys.stderr)
                return
            middle = len(items) // 2
            self._log(run_id, items[:middle])
            self._log(run_id, items[middle:])


def _is_new(metric: tuple[str, float, int, int], had: set[Point]) -> bool:
    """Whether a run lacks a point; samples of the machine are told by their times, which are not told anew."""
    name, value, _, step = metric
    return name.startswith(SAMPLES) or identity(name, step, value) not in had


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
