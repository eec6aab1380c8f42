"""`sweep gc`: what no sweep needs goes, what one needs stays, also while a driver runs."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from orchestrator import record
from orchestrator.cli import main
from orchestrator.plan import Plan, plan
from orchestrator.run import execute_plan, save_spec
from orchestrator.running.resources import Resources
from orchestrator.spec import read
from orchestrator.storage import index
from orchestrator.storage.nodelog import node_log
from orchestrator.store import Failure, Store, write_atomically
from tests.integration.test_sweep import REPO, sweep

WALKS = """
name: NAME
stages:
  first: {workload: tests.toys.walk, steps: 2}
  second: {workload: tests.toys.walk, from: first, steps: LENGTH}
  value: {workload: tests.toys.noop, x: LENGTH}
axes:
  seed: 3
"""
SLOW = """
name: slow
stages:
  first: {workload: tests.toys.noop, x: 7}
  second: {workload: tests.toys.noop, from: first, sleep: 0.3}
axes:
  seed: 25
"""


def made(folder: Path, name: str, text: str, store: Store) -> Plan:
    """A sweep that the store has run."""
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("NAME", name).replace("LENGTH", "3" if name == "short" else "5"))
    planned = plan(read(path), folder)
    save_spec(planned, store)
    assert execute_plan(planned, store, {}, folder, Resources(inline=True), []).complete
    return planned


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store").prepare()


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def unneeded(store: Store) -> dict[str, int]:
    """What `sweep gc` finds, in this process."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["gc", "--store", str(store.root), "--json"]) == 0
    found = json.loads(printed.getvalue())["found"]
    return {what: item["count"] for what, item in found.items()}


def grow_old(folder: Path) -> None:
    before = time.time() - 7200
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (before, before))


def test_what_a_forgotten_sweep_needed_goes_and_all_else_stays(tmp_path: Path, store: Store):
    short, long = (made(tmp_path, name, WALKS, store) for name in ("short", "long"))
    assert unneeded(store) == {}
    before = files(store.root)
    gone, kept = [key for key in long.nodes if key not in short.nodes], [*short.nodes]
    store.fail(Failure(gone[0], "broken", "", {}))
    store.fail(Failure(kept[0], "broken", "", {}))
    for key in (gone[0], kept[0]):
        write_atomically(node_log(store, key), "printed\n")
    for key in (gone[0], "f" * 40):
        store.work_folder(key).mkdir(parents=True)
        (store.work_folder(key) / "checkpoint.safetensors").write_bytes(bytes(1000))
    strange = [store.root / "nodes" / "notes.txt", store.root / "nodes" / "ab" / "mine", store.root / "work" / "x"]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("nobody knows what this is")
    shutil.rmtree(store.sweep_folder("long"))
    expected = {"node": 3, "row": 3, "failure": 1, "log": 1, "checkpoint": 2, "records": 1}
    assert unneeded(store) == expected

    shown = sweep("gc", "--store", store.root)
    assert shown.returncode == 0
    assert "3 nodes with files" in shown.stdout
    assert unneeded(store) == expected, "without --yes nothing is removed"

    assert sweep("gc", "--store", store.root, "--yes").stdout.endswith("removed\n")
    assert unneeded(store) == {}
    assert index.known(store, gone) == {}
    assert index.known(store, kept).keys() == set(kept)
    assert all(path.exists() for path in (*strange, node_log(store, kept[0])))
    assert files(store.root) <= before | files_of(strange, store) | {
        f"failed/{kept[0]}.json",
        f"logs/{kept[0][:2]}/{kept[0]}.log",
    } | new_files(store)
    again = execute_plan(short, store, index.known(store, short.nodes), tmp_path, Resources(inline=True), [])
    assert (again.executed, again.complete) == (0, True)
    assert made(tmp_path, "long", WALKS, store).nodes.keys() == long.nodes.keys()


def files_of(paths: list[Path], store: Store) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in paths}


def new_files(store: Store) -> set[str]:
    """Batches and index files have names of their own making."""
    return {name for name in files(store.root) if name.startswith(("nodes/rows/", "index/"))}


def test_costs_of_removed_nodes_are_remembered_and_rows_of_a_batch_stay(tmp_path: Path, store: Store):
    short, long = (made(tmp_path, name, WALKS, store) for name in ("short", "long"))
    keys = [key for key in long.nodes if key in short.nodes or long.nodes[key].stage == "value"]
    outcomes = index.known(store, [*short.nodes, *long.nodes])
    for path in store.rows_folder.glob("*.jsonl"):
        path.unlink()
    store.commit_rows([outcomes[key] for key in outcomes if not outcomes[key].folder])
    index.refresh(store, {})
    costs = index.look(store, []).costs.num_rows
    shutil.rmtree(store.sweep_folder("long"))
    sweep("gc", "--store", store.root, "--yes")
    held = index.look(store, outcomes)
    assert held.keys() == short.nodes.keys()
    assert not held.unindexed, "the rows that stay are still in the index"
    assert held.costs.num_rows >= costs
    assert {key for key in keys if key in held} == {key for key in keys if key in short.nodes}
    assert record.read(store.records_folder("short")).num_rows == 3


def test_a_sweep_that_cannot_be_planned_keeps_everything(tmp_path: Path, store: Store):
    made(tmp_path, "short", WALKS, store)
    made(tmp_path, "long", WALKS, store)
    spec = store.sweep_folder("long") / "spec.yaml"
    spec.write_text(spec.read_text().replace("tests.toys.noop", "tests.toys.gone"))
    before = files(store.root)
    refused = sweep("gc", "--store", store.root, "--yes")
    assert refused.returncode == 2
    assert "sweep long cannot be planned" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert files(store.root) == before


def test_nothing_that_a_running_sweep_needs_is_removed(tmp_path: Path, store: Store):
    """A driver runs while gc does: what is old and unneeded goes, what is new stays, and no node is computed twice."""
    old = made(tmp_path, "long", WALKS, store)
    shutil.rmtree(store.sweep_folder("long"))
    grow_old(store.root / "nodes")
    recent = made(tmp_path, "short", WALKS.replace("seed: 3", "seed: [8, 9]"), store)
    shutil.rmtree(store.sweep_folder("short"))
    spec = tmp_path / "slow.yaml"
    spec.write_text(SLOW)
    command = [sys.executable, "-m", "orchestrator.cli", "run", spec, "--store", store.root, "--inline", "--json"]
    driver = subprocess.Popen([str(word) for word in command], cwd=REPO, stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        lines = []
        while not any('"node_done"' in line for line in lines):
            lines.append(driver.stdout.readline())
            assert lines[-1], "the driver ended early"
        printed = io.StringIO()
        with redirect_stdout(printed):  # in this process: the driver is not to end while another one starts
            assert main(["gc", "--store", str(store.root), "--yes", "--json"]) == 0
        collected = json.loads(printed.getvalue())
        assert driver.poll() is None, "the driver had ended before gc did"
        rest, _ = driver.communicate(timeout=100)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 0
    assert collected["drivers"] == 1
    assert collected["found"]["node"]["count"] == sum(node.workload.endswith("walk") for node in old.nodes.values())
    assert index.known(store, recent.nodes).keys() == recent.nodes.keys()
    events = [json.loads(line) for line in (*lines, *rest.splitlines()) if line.startswith("{")]
    done = [event["key"] for event in events if event["event"] == "node_done"]
    assert len(done) == len(set(done)) == 50
    assert set(record.read(store.records_folder("slow")).column("status").to_pylist()) == {"done"}
    assert sweep("status", "slow", "--store", store.root).stdout.startswith("slow: 25 of 25 trials")
