"""The parts of a store in a bucket, against moto's server over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.storage import batches, connection, garbage
from orchestrator.storage import bucket as bucket_module
from orchestrator.storage.batches import Batches
from orchestrator.storage.bucket import Bucket
from orchestrator.storage.bucketboard import BucketBoard
from orchestrator.storage.mirror import Mirror
from orchestrator.storage.remote import RemoteStore
from orchestrator.storage.underway import UnderWay
from orchestrator.store import Failure, Outcome
from tests.integration.objectstore import BUCKET, ObjectStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    made = ObjectStore(tmp_path_factory.mktemp("s3"))
    made.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, text in made.environment.items():
            patch.setenv(name, text)
        connection._connections.clear()
        yield made
    connection._connections.clear()
    made.stop()


@pytest.fixture
def bucket(server: ObjectStore, request: pytest.FixtureRequest) -> Bucket:
    return Bucket.at(f"s3://{BUCKET}/{request.node.name}/")


def outcome(key: str) -> Outcome:
    return Outcome(key, "w", "done", {"a": 1.0}, {}, 0, None, 1.0, {}, {})


def test_an_object_is_created_replaced_and_removed_by_one_alone(bucket: Bucket):
    first = bucket.create("a", b"1")
    assert first is not None
    assert bucket.create("a", b"2") is None
    second = bucket.replace("a", b"3", first)
    assert second is not None
    assert bucket.replace("a", b"4", first) is None
    assert not bucket.remove("a", first)
    found = bucket.get("a")
    assert found is not None
    assert found.content == b"3"
    assert bucket.remove("a", second)
    assert bucket.get("a") is None
    assert not bucket.remove("a", second)
    assert bucket.replace("a", b"5", second) is None


def test_of_many_that_create_one_succeeds(bucket: Bucket):
    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(lambda number: bucket.create("a", str(number).encode()), range(24))]
    assert sum(tag is not None for tag in made) == 1


def test_a_listing_has_all_of_several_pages_and_begins_where_it_is_told(server: ObjectStore, bucket: Bucket):
    bucket.many(lambda number: bucket.put(f"x/{number:04d}", b""), range(1030))
    before = server.counts()["LIST"]
    assert [entry.name for entry in bucket.entries("x/")] == [f"x/{number:04d}" for number in range(1030)]
    assert [entry.name for entry in bucket.entries("x/", after="x/1027")] == ["x/1028", "x/1029"]
    assert server.counts()["LIST"] - before == 3


def test_a_large_file_goes_in_parts_and_comes_back(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bucket_module, "LARGE", 1)
    content = bytes(range(256)) * (9 << 12)  # boto3's parts have 8 MB
    (tmp_path / "a").write_bytes(content)
    bucket.send(tmp_path / "a", "a")
    assert bucket.fetch("a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == content
    assert [entry.tag.strip('"')[-2:] for entry in bucket.entries()] == ["-2"]
    assert not bucket.fetch("c", tmp_path / "c")
    with pytest.raises(connection.Unreachable, match="there is no such bucket"):
        Bucket.at("s3://not-there/x").send(tmp_path / "a", "a")


def test_only_new_batches_are_listed_and_each_is_brought_once(
    server: ObjectStore, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batches, "MARGIN", 0.0)
    here, there = Batches(tmp_path / "here", bucket), Batches(tmp_path / "there", bucket)
    there.commit([outcome("a"), outcome("b")])
    assert [[item.key for item in items] for _, items in here.rows(frozenset())] == [["a", "b"]]
    time.sleep(1.1)  # names count seconds
    here.listed()
    bucket.put("nodes/rows/0000000001-old.jsonl", b"")  # long before: not listed any more
    there.commit([outcome("c")])
    before = server.counts()
    assert here.row("c") == outcome("c")
    assert here.row("a") == outcome("a")
    counts = server.counts() - before
    assert (counts["LIST"], counts["GET"]) == (1, 1)
    assert "0000000001-old.jsonl" in here.all()
    assert here.row("d") is None


def test_a_mirror_takes_what_changed_there_sends_what_changed_here_and_leaves_the_rest(
    server: ObjectStore, bucket: Bucket, tmp_path: Path
):
    here, there = (Mirror(tmp_path / name, bucket) for name in ("here", "there"))
    write(here, "sweeps/a/plan.json", "1")
    write(here, "sweeps/a/tracking/ledger", "ours")
    here.push("sweeps/a")
    there.pull("sweeps")
    assert texts(there) == {"sweeps/a/plan.json": "1"}
    before = server.counts()
    here.push("sweeps")
    there.pull("sweeps")
    assert server.counts() - before == {"LIST": 1}
    write(there, "sweeps/a/plan.json", "22")
    write(there, "sweeps/b/plan.json", "3")
    there.push("sweeps")
    write(here, "sweeps/c/plan.json", "not sent yet")
    here.pull("sweeps")
    assert texts(here) == {
        "sweeps/a/plan.json": "22",
        "sweeps/a/tracking/ledger": "ours",
        "sweeps/b/plan.json": "3",
        "sweeps/c/plan.json": "not sent yet",
    }
    (there.root / "sweeps/a/plan.json").unlink()
    there.push("sweeps")
    here.pull("sweeps")
    assert "sweeps/a/plan.json" not in texts(here)


def write(mirror: Mirror, name: str, text: str) -> None:
    (mirror.root / name).parent.mkdir(parents=True, exist_ok=True)
    (mirror.root / name).write_text(text)


def texts(mirror: Mirror) -> dict[str, str]:
    files = [path for path in (mirror.root / "sweeps").rglob("*") if path.is_file()]
    return {path.relative_to(mirror.root).as_posix(): path.read_text() for path in files}


def test_what_is_under_way_is_taken_up_elsewhere_and_forgotten_when_it_ends(bucket: Bucket, tmp_path: Path):
    key = "ab" * 20
    here, there = (UnderWay(tmp_path / name, bucket) for name in ("here", "there"))
    folder = tmp_path / "here" / "work" / key
    (folder / "artifacts").mkdir(parents=True)
    (folder / "artifacts" / "note").write_text("a")
    (folder / "checkpoint.safetensors").write_text("b")
    here.keep(key)
    there.take_up(key)
    assert (tmp_path / "there" / "work" / key / "checkpoint.safetensors").read_text() == "b"
    assert (tmp_path / "there" / "work" / key / "artifacts" / "note").read_text() == "a"
    there.forget(key)
    assert [*bucket.entries("work/")] == []
    assert not (tmp_path / "there" / "work" / key).exists()


def test_a_failure_is_known_elsewhere_and_forgotten_everywhere(bucket: Bucket, tmp_path: Path):
    here, there = (RemoteStore(tmp_path / name, bucket) for name in ("here", "there"))
    here.fail(Failure("ab", "why", "where", {}))
    assert there.refresh().failure("ab") == Failure("ab", "why", "where", {})
    there.forget_failure("ab")
    assert here.refresh().failure("ab") is None


def test_what_waits_to_be_sent_is_not_sent_before_it_is_written(bucket: Bucket, tmp_path: Path):
    store = RemoteStore(tmp_path, bucket)
    half = tmp_path / "unsent" / ".0000000001-ab.jsonl-12345678"  # as `write_atomically` names it
    half.parent.mkdir()
    half.write_text('{"key": "ab')
    store.join()
    assert half.exists()
    assert [*bucket.entries("nodes/")] == []


def test_names_that_lead_out_of_a_store_are_no_waste_of_its(server: ObjectStore, bucket: Bucket, tmp_path: Path):
    """`sweep gc` removes from the mirror too what it removes from the bucket."""
    for name in ("records/../trials.parquet", "nodes/ab/../x", "records/gone/trials.parquet"):
        server.write(bucket.prefix + name, b"evil")
    store = RemoteStore(tmp_path / "mirror", bucket)
    found = garbage.garbage(store, (), ())
    assert [item.name for item in found.waste] == ["records/gone"]
    garbage.remove(store, found)
    assert {entry.name for entry in bucket.entries("records/")} == {"records/../trials.parquet"}


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (503, "SlowDown"), (409, "OperationAborted")])
def test_a_store_that_is_busy_is_asked_again(bucket: Bucket, status: int, code: str):
    from botocore.exceptions import ClientError

    busy = ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")  # pyright: ignore[reportArgumentType]
    answers = iter([busy, busy, None])

    def attempt() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "done"

    assert connection.connection().ask(str(bucket), "a", attempt) == "done"


def test_what_is_claimed_again_is_not_removed_by_its_being_given_back_before(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
):
    """A removal that takes long: the lease of one driver has the same content each time, so the same tag."""
    remove, board = Bucket.remove, BucketBoard(bucket)

    def slow(own: Bucket, name: str, tag: str | None = None) -> bool:
        time.sleep(0.5)
        return remove(own, name, tag)

    monkeypatch.setattr(Bucket, "remove", slow)
    board.write("drivers/a.json", "a")
    assert board.claim("leases/x", "drivers/a.json")
    board.give_back("leases/x", "a")
    assert board.claim("leases/x", "drivers/a.json") or board.claim(
        "leases/x", "drivers/a.json", board.read("leases/x")
    )
    board.settle()
    time.sleep(1.0)
    assert board.read("leases/x") is not None
    board.give_back("leases/x", "a")
    board.settle()
    assert board.read("leases/x") is None


def test_a_server_that_writes_over_what_it_should_not_is_refused(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Bucket, "create", Bucket.put)  # as of a server that does not know If-None-Match
    with pytest.raises(connection.Unreachable, match="If-None-Match"):
        RemoteStore(tmp_path, bucket).prepare()


def test_the_time_in_which_the_store_was_away_counts_against_no_driver(
    server: ObjectStore, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    board = BucketBoard(bucket)
    board.write("drivers/a.beat", "1")
    assert board.away < time.monotonic() - 1
    with server.away(), pytest.raises(connection.Unreachable):
        board.read("drivers/a.stop")
    assert board.away > time.monotonic() - 5
    assert board.read("drivers/a.stop") is None
    assert (board.age("drivers/a.beat") or 0) < 60
