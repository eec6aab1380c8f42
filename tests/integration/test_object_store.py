"""A store on an object store: moto's server over HTTP; two hosts are two mirrors, or two processes with one each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import record
from orchestrator.cli import main
from orchestrator.doctor import places
from orchestrator.doctor.checks import Patient
from orchestrator.plan import Plan, plan
from orchestrator.run import Summary, execute_plan, save_spec
from orchestrator.running.resources import Resources
from orchestrator.spec import read
from orchestrator.storage import connection, index
from orchestrator.storage import leases as leases_module
from orchestrator.storage.bucket import Bucket
from orchestrator.storage.leases import Driver, Leases
from orchestrator.storage.remote import RemoteStore
from orchestrator.store import Damaged, Outcome, Store
from tests.integration.objectstore import BUCKET, SECRET, ObjectStore
from tests.integration.servers import MlflowServer, wait_for

REPO = Path(__file__).resolve().parents[2]
SWEEP = """
name: mixed
stages:
  walk:   {workload: tests.toys.walk, steps: 3, pause: PAUSE}
  on:     {workload: tests.toys.walk, from: walk, pause: PAUSE}
  first:  {workload: tests.toys.noop, x: 1, sleep: PAUSE}
  second: {workload: tests.toys.noop, from: first, sleep: PAUSE}
axes:
  second.x: [1, 2]
  on.steps: [2, 4]
  seed: SEEDS
tables:
  values: {rows: [second.x], columns: [on.steps], values: [value, on.norm]}
"""
LONG = """
name: long
stages:
  walk: {workload: tests.toys.walk, steps: 60, pause: 0.05}
axes: {seed: 2}
"""


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
def uri(server: ObjectStore, request: pytest.FixtureRequest) -> str:
    """A new store for each test."""
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').rstrip(']')}"


def host(uri: str, mirror: Path) -> RemoteStore:
    """The store as another host sees it."""
    return RemoteStore(mirror, Bucket.at(uri))


def planned(tmp_path: Path, pause: float = 0.0, seeds: int = 2) -> Plan:
    path = tmp_path / "mixed.yaml"
    path.write_text(SWEEP.replace("PAUSE", str(pause)).replace("SEEDS", str(seeds)))
    return plan(read(path, None), tmp_path)


def run(made: Plan, store: Store) -> Summary:
    store.refresh().prepare()
    save_spec(made, store)
    return execute_plan(made, store, index.known(store, made.nodes), Path(), Resources(inline=True), [])


def rows(store: Store, name: str = "mixed") -> list[dict[str, object]]:
    found = record.read(store.refresh().records_folder(name)).to_pylist()
    return [{name: value for name, value in row.items() if not name.startswith("meta.")} for row in found]


def environment(cache: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "SWEEP_STORE_CACHE": str(cache), **more}


def start(cache: Path, *arguments: object, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPO, env=environment(cache, **more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def prefix(uri: str) -> str:
    return uri.removeprefix(f"s3://{BUCKET}/") + "/"


def finished(server: ObjectStore, uri: str) -> list[str]:
    """The key of every commit there is, one a node if nothing was computed twice."""
    found = [name.split("/")[-2] for name in server.names(prefix(uri) + "nodes/") if name.endswith("/outcome.json")]
    for name in server.names(prefix(uri) + "nodes/rows/"):
        found += [json.loads(line)["key"] for line in server.read(name).splitlines()]
    return sorted(found)


def test_a_second_run_computes_nothing_here_and_on_another_host_and_tables_are_those_of_a_folder(
    server: ObjectStore, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    made = planned(tmp_path)
    local = Store.at(tmp_path / "local")
    assert run(made, local).executed == len(made.nodes) == 2 + 4 + 2 + 4
    first, second = host(uri, tmp_path / "first"), host(uri, tmp_path / "second")
    assert run(made, first).executed == len(made.nodes)
    assert finished(server, uri) == sorted(made.nodes)
    assert (run(made, first).executed, run(made, second).executed) == (0, 0)
    assert rows(first) == rows(second) == rows(local)
    for outcome in index.known(local, made.nodes).values():
        assert all(second.content(outcome, name) == local.content(outcome, name) for name in weights(outcome))
    printed = set()
    for form in ("text", "csv", "json", "markdown", "html"):
        for store in (str(local.root), uri):
            monkeypatch.setenv("SWEEP_STORE_CACHE", str(tmp_path / "third"))
            assert main(["table", "mixed", "--store", store, "--format", form]) == 0
            printed.add(capsys.readouterr().out)
    assert len(printed) == 5


def weights(outcome: Outcome) -> set[str]:
    return {name for name in outcome.files if name.endswith("safetensors")}


@pytest.mark.timeout(300)
def test_two_hosts_at_once_compute_each_node_once(server: ObjectStore, uri: str, tmp_path: Path):
    made = planned(tmp_path, pause=0.03)
    arguments = ["run", tmp_path / "mixed.yaml", "--store", uri, "--inline", "--plain", "--set", "seed=3"]
    made = plan(read(tmp_path / "mixed.yaml", None, {"seed": 3}), tmp_path)
    drivers = [start(tmp_path / name, *arguments) for name in ("first", "second")]
    said = [driver.communicate(timeout=250) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert finished(server, uri) == sorted(made.nodes)
    assert server.names(prefix(uri) + "work/") == []


@pytest.mark.timeout(300)
def test_a_killed_driver_is_taken_up_by_another_host_from_its_checkpoint(server: ObjectStore, uri: str, tmp_path: Path):
    path = tmp_path / "long.yaml"
    path.write_text(LONG)
    made = plan(read(path, None), tmp_path)
    driver = start(
        tmp_path / "first", "run", path, "--store", uri, "--inline", "--plain", SWEEP_CHECKPOINT_SECONDS="0.2"
    )
    wait_for(lambda: server.put("checkpoint.safetensors", prefix(uri)) > 0, 200)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert server.names(prefix(uri) + "work/leases/")
    store = host(uri, tmp_path / "second")
    assert run(made, store).executed == len(made.nodes) - len(index.known(store, made.nodes)) + 2
    known = index.known(store, made.nodes)
    assert any(outcome.meta.get("resumed_at") for outcome in known.values())
    local = Store.at(tmp_path / "local")
    run(made, local)
    assert rows(store, "long") == rows(local, "long")
    for key, outcome in index.known(local, made.nodes).items():
        assert known[key].files["weights.safetensors"] == outcome.files["weights.safetensors"]
    assert server.names(prefix(uri) + "work/") == []


def test_objects_without_an_outcome_are_no_node(server: ObjectStore, uri: str, tmp_path: Path):
    made = planned(tmp_path)
    store = host(uri, tmp_path / "first")
    run(made, store)
    key = next(key for key, node in made.nodes.items() if node.stage == "on")
    server.remove(f"{prefix(uri)}nodes/{key[:2]}/{key}/outcome.json")
    other = host(uri, tmp_path / "second")
    other.refresh()
    assert other.outcome(key) is None
    assert key not in index.known(other, made.nodes)
    many = {*made.nodes, *(f"{number:040x}" for number in range(300))}  # asked for by listing
    assert index.known(other, many).keys() == made.nodes.keys() - {key}
    assert run(made, other).executed == 1


def test_a_log_that_goes_on_here_is_not_replaced_by_what_was_sent_of_it(uri: str, tmp_path: Path):
    here, elsewhere = (host(uri, tmp_path / name) for name in ("here", "elsewhere"))
    log, seen = (store.sweep_folder("mixed") / "run.log" for store in (here, elsewhere))
    log.parent.mkdir(parents=True)
    with open(log, "ab", buffering=0) as run:
        run.write(b"first\n")
        here.publish(log)
        run.write(b"second\n")
        assert here.fetch(log).read_bytes() == b"first\nsecond\n"
        run.write(b"third\n")
    assert here.fetch(log).read_bytes() == b"first\nsecond\nthird\n"
    assert elsewhere.fetch(seen).read_bytes() == b"first\n"
    here.publish(log)
    assert elsewhere.fetch(seen).read_bytes() == b"first\nsecond\nthird\n"


def test_a_damaged_object_is_computed_again(server: ObjectStore, uri: str, tmp_path: Path):
    made = planned(tmp_path)
    run(made, host(uri, tmp_path / "first"))
    key = next(key for key, node in made.nodes.items() if node.stage == "on")
    for name in server.names(f"{prefix(uri)}nodes/{key[:2]}/{key}/"):
        if name.endswith(("weights.safetensors", "history.parquet")):
            server.write(name, server.read(name)[:-1] + b"?")
    other = host(uri, tmp_path / "second")
    outcome = other.outcome(key)
    assert outcome is not None
    with pytest.raises(Damaged, match=f"{uri}/nodes/.*weights.safetensors: damaged"):
        other.weights(outcome)
    summary = run(made, other)
    assert (summary.executed, len(summary.damaged)) == (1, 1)
    assert len(server.names(f"{prefix(uri)}damaged/{key}")) == len(outcome.files) + 1
    third = host(uri, tmp_path / "third")
    again = third.outcome(key)
    assert again is not None
    assert third.weights(again)["x"].shape == (3,)
    assert run(made, third).executed == 0


def test_requests_grow_with_the_nodes_and_no_faster(server: ObjectStore, uri: str, tmp_path: Path):
    def requests(seeds: int) -> Counter[str]:
        made, before = planned(tmp_path, seeds=seeds), server.counts()
        run(made, host(f"{uri}/{seeds}", tmp_path / str(seeds)))
        return server.counts() - before

    few, many, most = requests(1), requests(4), requests(7)
    for kind in ("LIST", "GET", "HEAD", "PUT", "DELETE"):
        assert most[kind] - many[kind] <= 1.25 * (many[kind] - few[kind]) + 5, kind


def test_a_lease_is_one_drivers_until_it_has_missed_three_beats(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = host(uri, tmp_path)
    far_driver = replace(Driver.this(), name="far", host="another-host")
    now = time.monotonic()
    with Leases(store, driver=far_driver) as far, Leases(host(uri, tmp_path / "near")) as near:
        assert far.claim("ab")
        assert not near.claim("ab")
        monkeypatch.setattr(leases_module.time, "monotonic", lambda: now + 2 * leases_module.BEAT)
        assert not near.claim("ab")
        monkeypatch.setattr(leases_module.time, "monotonic", lambda: now + 4 * leases_module.BEAT)
        assert near.claim("ab")
        far.release("ab")  # it is another's now
        far.store.board.settle()
        assert near.holder("ab") == near.driver
        assert near.claim_all(f"{number:02x}" for number in range(20)) == [f"{number:02x}" for number in range(20)]


def test_a_dead_drivers_lease_is_taken_over_once(uri: str, tmp_path: Path):
    store = host(uri, tmp_path)
    keys = [f"{number:02x}" for number in range(10)]
    gone = Leases(store, driver=replace(Driver.this(), name="gone", started="1.0"))
    assert gone.__enter__().claim_all(keys) == keys
    drivers = [Leases(host(uri, tmp_path / str(number))).__enter__() for number in range(3)]
    won = store.bucket.many(lambda leases: [key for key in keys if leases.claim(key)], drivers)
    assert sorted(key for found in won for key in found) == keys
    for leases in drivers:
        leases.__exit__(None, None, None)
    gone._stop.set()


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_store_that_is_away_for_a_while_ends_nothing(server: ObjectStore, uri: str, tmp_path: Path):
    made = planned(tmp_path, pause=0.02)
    driver = start(tmp_path / "first", "run", tmp_path / "mixed.yaml", "--store", uri, "--inline", "--plain")
    wait_for(lambda: server.put("outcome.json", prefix(uri)) > 1, 200)
    with server.away():
        time.sleep(10)
    out, errors = driver.communicate(timeout=200)
    assert driver.returncode == 0, out + errors
    assert f"{len(made.nodes)} nodes executed" in out
    assert finished(server, uri) == sorted(made.nodes)
    assert SECRET not in out + errors
    texts = [path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in text for text in texts)
    assert not any(SECRET.encode() in server.read(name) for name in server.names(prefix(uri)))


def test_what_was_finished_while_the_store_was_away_is_sent_by_the_next_run(
    server: ObjectStore, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = planned(tmp_path)
    local, store = Store.at(tmp_path / "local"), host(uri, tmp_path / "first")
    run(made, local)
    store.prepare()
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    done = index.known(local, made.nodes)
    folder = next(outcome for outcome in done.values() if outcome.folder)
    row = next(outcome for outcome in done.values() if not outcome.folder)
    write = {name: (lambda path, name=name: path.write_bytes(local.content(folder, name))) for name in folder.files}
    with server.away():
        with pytest.raises(connection.Unreachable, match=r"at http://127.0.0.1:\d+: does not answer \(it says 503\)"):
            store.commit_folder(replace(folder, files={}), write)
        with pytest.raises(connection.Unreachable):
            store.commit_rows([row])
    assert finished(server, uri) == []
    assert run(made, store).executed == len(made.nodes) - 2
    assert [*(store.root / "unsent").iterdir()] == []
    assert finished(server, uri) == sorted(made.nodes)


@pytest.mark.parametrize(
    ("store", "variables", "words"),
    [
        ("s3://not-there/a", {}, "there is no such bucket"),
        (f"s3://{BUCKET}/a", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "at http://127.0.0.1:9: does not answer"),
        (f"s3://{BUCKET}/a", {"AWS_ACCESS_KEY_ID": "", "HOME": "/nowhere"}, "no credentials: set AWS_ACCESS_KEY_ID"),
        ("gs://bucket/a", {}, "allowed: a local folder, or s3://BUCKET/PREFIX"),
        ("s3://user:password@bucket/a", {}, "allowed: a local folder, or s3://BUCKET/PREFIX"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    server: ObjectStore,
    store: str,
    variables: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("SWEEP_STORE_CACHE", str(tmp_path))
    monkeypatch.setattr(connection, "FIRST_SECONDS", 0.3)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    if not variables.get("AWS_ACCESS_KEY_ID", "given"):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    connection._connections.clear()
    RemoteStore.of.cache_clear()
    assert main(["status", "--store", store]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert "password" not in said
    connection._connections.clear()


def test_hostile_names_in_a_bucket_lead_nowhere(server: ObjectStore, uri: str, tmp_path: Path):
    made = planned(tmp_path)
    run(made, host(uri, tmp_path / "a" / "b" / "first"))
    for name in ("sweeps/../../evil", "sweeps/x/../../../evil", "work/ab/../../../evil"):
        server.write(prefix(uri) + name, b"evil")
    key = next(key for key, node in made.nodes.items() if node.stage == "on")
    other = host(uri, tmp_path / "a" / "b" / "second").refresh()
    other.take_up("ab")
    outcome = other.outcome(key)
    assert outcome is not None
    with pytest.raises(Damaged):
        other.content(replace(outcome, files={"../../evil": "0" * 64}), "../../evil")
    assert not [*tmp_path.rglob("evil")]


def test_what_no_sweep_needs_is_found_and_removed_and_all_else_stays(
    server: ObjectStore, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    made = planned(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setenv("SWEEP_STORE_CACHE", str(cache))
    RemoteStore.of.cache_clear()
    store = Store.at(uri)
    run(made, store)
    path = tmp_path / "long.yaml"
    path.write_text(LONG.replace("60", "2").replace("0.05", "0"))
    other = plan(read(path, None), tmp_path)
    run(other, store)
    before = {name for name in server.names(prefix(uri)) if "/index/" not in name}
    assert main(["gc", "--store", uri]) == 0
    assert "its sweeps need all of it" in capsys.readouterr().out
    for name in server.names(f"{prefix(uri)}sweeps/long/"):  # forgotten
        server.remove(name)
    server.write(f"{prefix(uri)}nodes/ab/{'ab' * 20}/{'0' * 16}/weights.safetensors", b"half a node")
    assert main(["gc", "--store", uri, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {what: item["count"] for what, item in found["found"].items()} == {"node": 2, "records": 1}
    assert all(item.startswith(f"{uri}/") for item in found["paths"])
    assert main(["gc", "--store", uri, "--yes"]) == 0
    left = {name for name in server.names(prefix(uri)) if "/index/" not in name}
    assert {name.split("/")[1] for name in before - left} == {"nodes", "records", "sweeps"}
    assert not {key for key in other.nodes for name in left if key in name}
    assert finished(server, uri) == sorted(made.nodes)
    assert run(made, host(uri, tmp_path / "second")).executed == 0
    assert run(other, host(uri, tmp_path / "second")).executed == 2


def test_doctor_looks_at_it(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = places.store(Patient(store=uri))
    assert found.well
    assert str(found) == f"well     store {uri}: answers, takes what is written, and only once"
    assert not [*Bucket.at(uri).entries()], "and leaves nothing"
    [found] = places.store(Patient(store="s3://no-such-bucket/x"))
    assert not found.well
    assert "no-such-bucket" in found.what


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.mlflow
@pytest.mark.timeout(400)
def test_rays_workers_use_it_and_an_mlflow_keeps_its_artifacts_there(server: ObjectStore, uri: str, tmp_path: Path):
    made, folder = planned(tmp_path), tmp_path / "mlflow"
    folder.mkdir()
    place = prefix(uri) + "artifacts"
    tracking = MlflowServer(
        folder, f"sqlite:///{folder}/db", environment=server.environment, artifacts=f"s3://{BUCKET}/{place}"
    )
    tracking.start()
    try:
        arguments = ["run", tmp_path / "mixed.yaml", "--store", uri, "--jobs", "2", "--plain"]
        driver = start(tmp_path / "first", *arguments, "--tracking-uri", tracking.uri)
        out, errors = driver.communicate(timeout=300)
    finally:
        tracking.stop()
    assert driver.returncode == 0, out + errors
    assert f"{len(made.nodes)} nodes executed" in out
    assert finished(server, uri) == sorted(made.nodes)
    kept = [name for name in server.names(place) if name.endswith("arrays.npz")]
    assert len(kept) == sum(node.stage == "on" for node in made.nodes.values()) + 2
