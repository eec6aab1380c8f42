"""The spool: files that outlive their drivers, the ledger, who may write, and the sender on a server that fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from orchestrator.to_mlflow import sender as sender_module
from orchestrator.to_mlflow.batch import Item, Lost, Rejected
from orchestrator.to_mlflow.sender import Sender, send
from orchestrator.to_mlflow.spool import Ledger, Operation, Spool, SpoolFile, only_writer, spool_files, spool_targets

ROOT = Path(__file__).resolve().parents[3]


def begin(key: str, parent: str | None = None) -> Operation:
    return {"op": "run", "key": key, "name": key, "time": 1, "parent": parent, "tags": {}, "params": {"x": "1"}}


def log(key: str, *metrics: tuple[str, float, int, int]) -> Operation:
    return {"op": "log", "key": key, "metrics": [list(metric) for metric in metrics]}


def end(key: str, status: str = "FINISHED") -> Operation:
    return {"op": "end", "key": key, "status": status, "time": 2, "what": "all"}


OPEN: Operation = {"op": "open", "experiment": "demo", "uri": None}


class Memory:
    """A server in memory: a set of points per run, as MLflow keeps them. Fails when told to."""

    experiment, parallel, batch_bytes = "1", 1, 1 << 18

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.items: dict[str, set[Item]] = {}
        self.statuses: dict[str, str] = {}
        self.calls = 0
        self.fail_on: dict[int, Exception] = {}

    def _call(self) -> None:
        self.calls += 1
        if error := self.fail_on.pop(self.calls, None):
            raise error

    def runs(self) -> dict[str, str]:
        return dict(self.known)

    def create(self, run: Operation, parent: str | None) -> str:
        self._call()
        run_id = f"id{len(self.known)}"
        assert run["key"] not in self.known, "a run was made twice"
        self.known[run["key"]] = run_id
        self.items[run_id] = set()
        return run_id

    def resume(self, run_id: str, run: Operation, parent: str | None, running: bool) -> list[Item]:
        self._call()
        if run_id not in self.items:
            raise Lost(run_id)
        return [("param", pair) for pair in run["params"].items()]

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

    def points(self, run_id: str) -> Iterator[tuple[str, int, float]]:
        yield from ((values[0], values[3], values[1]) for kind, values in self.items[run_id] if kind == "metric")

    def inputs(self, run_id: str, datasets: list[dict[str, str]]) -> None:
        self._call()

    def artifacts(self, run_id: str, operation: Operation) -> None:
        self._call()

    def log(self, run_id: str, items: Iterable[Item]) -> None:
        self._call()
        items = [*items]
        if any(kind == "metric" and values[0] == "refused" for kind, values in items):
            raise Rejected("no such name")
        self.items[run_id].update(items)

    def end(self, run_id: str, status: str, time: int) -> None:
        self._call()
        self.statuses[run_id] = status


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "POLL", 0.001)


def spooled(folder: Path, *operations: Operation, release: bool = True) -> Spool:
    spool = Spool(folder / "spool", "here")
    spool.append([OPEN, *operations])
    if release:
        spool.release()
    return spool


def sent(folder: Path, server: Memory, once: bool = False) -> bool:
    return send(folder / "spool", "here", folder / "ledger.jsonl", lambda name: server, once)


def content(server: Memory) -> dict[str, tuple[set[Item], str | None]]:
    return {key: (server.items[run], server.statuses.get(run)) for key, run in server.known.items()}


WHOLE = [begin("a"), log("a", ("loss", 0.5, 1, 0)), begin("b", "a"), log("b", ("loss", 0.25, 2, 1)), end("b"), end("a")]


def test_a_reader_sees_whole_lines_only(tmp_path: Path) -> None:
    spool = spooled(tmp_path, begin("a"), release=False)
    file = SpoolFile(spool.path)
    operations, offset = file.read(0)
    assert [item["op"] for item in operations] == ["open", "run"]
    with open(spool.path, "ab") as half:
        half.write(b'{"op":"lo')
    assert file.read(offset) == ([], offset)
    assert len([*file.all()]) == 2


def test_a_line_longer_than_the_limit_is_read(tmp_path: Path) -> None:
    file = SpoolFile(spooled(tmp_path, log("a", *[("loss", 1.0, 1, step) for step in range(100)])).path)
    _, offset = file.read(0, limit=10)
    assert len(file.read(offset, limit=10)[0][0]["metrics"]) == 100


def test_a_killed_driver_leaves_its_lines_and_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from orchestrator.to_mlflow.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), 'here'); spool.append([{'op': 'open'}])\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"ready\n"
        (file,) = spool_files(tmp_path, "here")
        assert not file.abandoned()
        driver.kill()
        driver.wait()
    assert file.abandoned()
    assert [*file.all()] == [{"op": "open"}]
    assert spool_targets(tmp_path) == ["here"]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spooled(tmp_path, release=False)
    real = os.write

    def short(file: int, data: bytes) -> int:
        if len(data) > 10:
            return real(file, data[:5])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "write", short)
        spool.append([end("a")])
    spool.append([end("b")])
    assert [item.get("key") for item in SpoolFile(spool.path).all()] == [None, "a", "b"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with only_writer(tmp_path, ["a", "b"]) as first, only_writer(tmp_path, ["b"]) as second:
        assert (first, second) == (True, False)
    with only_writer(tmp_path, ["b"]) as third:
        assert third


def test_the_ledger_is_read_back_and_survives_a_cut(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.add(runs={"a": "1"}, offsets={"f": 10})
    ledger.add(ended={"a": "x"}, offsets={"f": None})
    ledger.add(clean=True)
    assert Ledger.read(ledger.path) == ledger
    assert (ledger.runs, ledger.ended, ledger.offsets, ledger.clean) == ({"a": "1"}, {"a": "x"}, {}, True)
    with open(ledger.path, "ab") as file:
        file.write(b'{"runs":{"b"')
    assert Ledger.read(ledger.path).runs == {"a": "1"}
    ledger.rewrite()
    assert Ledger.read(ledger.path) == ledger
    assert len(ledger.path.read_text().splitlines()) == 1


def test_everything_is_sent_once_and_the_file_is_gone(tmp_path: Path) -> None:
    server = Memory()
    spool = spooled(tmp_path, *WHOLE)
    assert sent(tmp_path, server)
    assert not spool.path.exists()
    assert content(server) == {
        "a": ({("metric", ("loss", 0.5, 1, 0)), ("param", ("x", "1"))}, "FINISHED"),
        "b": ({("metric", ("loss", 0.25, 2, 1)), ("param", ("x", "1"))}, "FINISHED"),
    }
    assert server.calls == 6, "one call each to make, fill and end a run"
    assert Ledger.read(tmp_path / "ledger.jsonl").ended == {"a": "all", "b": "all"}


@pytest.mark.parametrize("broken", range(1, 8))
def test_a_failure_anywhere_changes_nothing_in_the_end(tmp_path: Path, broken: int) -> None:
    undisturbed, disturbed = Memory(), Memory()
    spooled(tmp_path / "one", *WHOLE)
    assert sent(tmp_path / "one", undisturbed)
    disturbed.fail_on = {broken: ConnectionError("down"), broken + 1: ConnectionError("still down")}
    spooled(tmp_path / "two", *WHOLE)
    assert sent(tmp_path / "two", disturbed)
    assert content(disturbed) == content(undisturbed)


def test_a_server_set_up_anew_is_told_everything_again(tmp_path: Path) -> None:
    server = Memory()
    spool = spooled(tmp_path, begin("a"), log("a", ("loss", 1.0, 1, 0)), release=False)
    sender = Sender(tmp_path / "spool", "here", tmp_path / "ledger.jsonl", lambda name: server, once=False)
    sender._send_files()
    server.known, server.items = {}, {}
    spool.append([begin("a"), end("a")])
    spool.release()
    assert sender.run()
    assert content(server) == {"a": ({("metric", ("loss", 1.0, 1, 0)), ("param", ("x", "1"))}, "FINISHED")}


def test_a_run_that_the_ledger_missed_is_found_by_its_key(tmp_path: Path) -> None:
    server = Memory()
    server.known, server.items = {"a": "id0"}, {"id0": set()}  # made; then the writer was killed before it said so
    spooled(tmp_path, begin("a"), end("a"))
    assert sent(tmp_path, server)
    assert server.known == {"a": "id0"}


def test_what_is_refused_takes_nothing_else_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Memory()
    spooled(tmp_path, begin("a"), log("a", ("loss", 1.0, 1, 0), ("refused", 2.0, 1, 0), ("rate", 3.0, 1, 0)), end("a"))
    assert sent(tmp_path, server)
    assert {values[0] for _, values in server.items["id0"]} == {"x", "loss", "rate"}
    assert "refused" in capsys.readouterr().err


def test_the_runs_of_a_killed_driver_are_ended(tmp_path: Path) -> None:
    server = Memory()
    spooled(tmp_path, begin("a"), begin("b", "a"), end("b"), begin("c", "a"))
    assert sent(tmp_path, server)
    assert {key: status for key, (_, status) in content(server).items()} == {
        "a": "KILLED",
        "b": "FINISHED",
        "c": "KILLED",
    }


def test_once_leaves_a_running_driver_alone(tmp_path: Path) -> None:
    server = Memory()
    running = spooled(tmp_path, begin("a"), release=False)
    spooled(tmp_path, begin("b"), end("b"))
    assert sent(tmp_path, server, once=True) is True
    assert running.path.exists()
    assert [*server.known] == ["b"]
    running.release()


def test_operations_are_plain_json(tmp_path: Path) -> None:
    spool = spooled(tmp_path, log("a", ("loss", float("nan"), 1, 0)))
    first, second = spool.path.read_text().splitlines()
    assert json.loads(first) == dict(OPEN)
    assert "NaN" in second
    value = [*SpoolFile(spool.path).all()][1]["metrics"][0][1]
    assert value != value


def test_points_of_a_run_taken_up_again_are_not_doubled(tmp_path: Path) -> None:
    server = Memory()
    first = [
        log("a", ("fit/loss", 0.5, 1, 1), ("fit/loss", 0.25, 2, 2), ("final", 1.0, 3, 0), ("system/cpu", 5.0, 1, 0))
    ]
    spooled(tmp_path, begin("a"), *first)  # its driver was killed
    assert sent(tmp_path, server)
    again = [log("a", ("fit/loss", 0.25, 20, 2), ("fit/loss", 0.125, 30, 3), ("final", 1.0, 40, 0))]
    again += [log("a", ("final", 2.0, 50, 0), ("system/cpu", 5.0, 60, 0))]
    spooled(tmp_path, begin("a"), *again, end("a"))
    assert sent(tmp_path, server)
    assert {values for kind, values in server.items["id0"] if kind == "metric"} == {
        ("fit/loss", 0.5, 1, 1),
        ("fit/loss", 0.25, 2, 2),
        ("fit/loss", 0.125, 30, 3),
        ("final", 1.0, 3, 0),
        ("final", 2.0, 50, 0),
        ("system/cpu", 5.0, 1, 0),
        ("system/cpu", 5.0, 60, 0),
    }


def test_links_become_the_ids_of_runs_and_those_of_unknown_runs_are_left_out(tmp_path: Path) -> None:
    server = Memory()
    to = [["b", "x=1 [b]"], ["nowhere", "x=2"]]
    link = {"op": "link", "key": "a", "tag": "used_by.runs", "title": "Used by", "to": to}
    of_nobody = {**link, "key": "never begun"}
    spooled(tmp_path, begin("a"), begin("b", "a"), link, of_nobody, end("b"), end("a"))
    assert sent(tmp_path, server)
    tags = dict(values for kind, values in server.items["id0"] if kind == "tag")
    assert tags["used_by.runs"] == "id1"
    assert tags["mlflow.note.content"] == "**Used by**\n\n- [x=1 (b)](#/experiments/1/runs/id1)"


def test_many_links_say_how_many_are_left_out(tmp_path: Path) -> None:
    server = Memory()
    users = [f"user{number}" for number in range(2500)]
    link = {"op": "link", "key": "a", "tag": "used_by.runs", "title": "Used by", "to": [[key, key] for key in users]}
    spooled(tmp_path, begin("a"), *(begin(key, "a") for key in users), link, *(end(key) for key in users), end("a"))
    assert sent(tmp_path, server)
    tags = dict(values for kind, values in server.items["id0"] if kind == "tag")
    assert re.search(r"id\d+, and \d+ more$", tags["used_by.runs"])
    assert all(len(text) < 8000 for text in tags.values()), "MLflow takes no longer ones"
    count = len(tags["used_by.runs"].split(", ")) - 1
    assert int(tags["used_by.runs"].split("and ")[1].split()[0]) == 2500 - count


def test_a_ledger_that_a_full_disk_cut_off_is_whole_after_the_next_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.add(runs={"a": "1"})
    real = json.dumps
    with monkeypatch.context() as full:
        full.setattr(json, "dumps", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            ledger.add(runs={"b": "2"})
    with open(ledger.path, "ab") as file:
        file.write(real({"runs": {"b": "2"}}).encode()[:7])
    ledger.add(offsets={"f": 1})
    found = Ledger.read(ledger.path)
    assert (found.runs, found.offsets) == ({"a": "1", "b": "2"}, {"f": 1})
