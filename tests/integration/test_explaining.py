"""`sweep why` and `sweep diff`: what they say of real stores, and that they say it without loading anything heavy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.plan import Plan, plan
from orchestrator.planning import keys
from orchestrator.run import execute_plan, save_spec
from orchestrator.running.resources import Resources
from orchestrator.spec import read
from orchestrator.storage.leases import Leases
from orchestrator.store import Store
from tests.integration.test_sweep import REPO

SPEC = """
name: steps
stages:
  first:  {workload: tests.toys.noop, x: 1}
  walk:   {workload: tests.toys.walk, steps: 3}
  second: {workload: tests.toys.noop, from: first, x: 2}
axes:
  second.sleep: [0, 0.001]
  walk.fails_at: [null, 2]
  seed: 2
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store").prepare()


def planned(folder: Path, text: str = SPEC) -> Plan:
    path = folder / "steps.yaml"
    path.write_text(text)
    return plan(read(path), folder)


@pytest.fixture
def ran(tmp_path: Path, store: Store) -> Plan:
    """A sweep of which one walk in two fails."""
    made = planned(tmp_path)
    save_spec(made, store)
    assert not execute_plan(made, store, {}, tmp_path, Resources(inline=True), []).complete
    return made


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main([str(word) for word in arguments]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out if code == 0 else err


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    return json.loads(said(capsys, *arguments, "--json"))


def of_stage(made: Plan, stage: str, **config: object) -> str:
    return next(
        key for key, node in made.nodes.items()
        if node.stage == stage and all(node.config[name] == value for name, value in config.items())
    )  # fmt: skip


def test_a_finished_node(ran: Plan, store: Store, capsys: pytest.CaptureFixture[str]):
    key = of_stage(ran, "second", sleep=0.001)
    told_of = told(capsys, "why", key[:12], "--store", store.root)
    assert (told_of["key"], told_of["state"], told_of["will_run"]) == (key, "done", False)
    assert told_of["config"] == {"x": "2", "sleep": "0.001", "from": "input"}
    assert told_of["inputs"]["input"]["key"] == of_stage(ran, "first")
    needed = told_of["needed_by"]["steps"]
    assert (needed["trials"], needed["of"]) == (2, 8)
    assert needed["levels"] == ["sleep=0.001 fails_at=null seed=0", "sleep=0.001 fails_at=2 seed=0"]
    assert keys.digest(told_of["identity"]) == key, "what it says that the key hashes, hashes to the key"
    text = said(capsys, "why", key[:12], "--store", store.root)
    assert text.startswith(f"second  {key}\n  done: it will not run again")
    assert "sleep" in text
    assert "0.001" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_node_that_failed_is_tried_again(ran: Plan, store: Store, capsys: pytest.CaptureFixture[str]):
    told_of = told(capsys, "why", of_stage(ran, "walk", fails_at=2), "--store", store.root)
    assert (told_of["state"], told_of["will_run"]) == ("failed", True)
    assert "fell at step 2" in told_of["because"]
    assert told_of["failure"]["error"] == "RuntimeError: fell at step 2"


def test_nodes_that_are_missing_wait_or_run(
    tmp_path: Path, ran: Plan, store: Store, capsys: pytest.CaptureFixture[str]
):
    more = planned(tmp_path, SPEC.replace("seed: 2", "seed: 3"))
    save_spec(more, store)
    new = {more.nodes[key].stage: key for key in more.nodes if key not in ran.nodes}
    assert told(capsys, "why", new["first"], "--store", store.root)["state"] == "missing"
    waiting = told(capsys, "why", new["second"], "--store", store.root)
    assert (waiting["state"], waiting["inputs"]["input"]["state"]) == ("waiting", "missing")
    with Leases(store) as leases:
        assert leases.claim(new["first"])
        running = told(capsys, "why", new["first"], "--store", store.root)
    assert running["state"] == "running"
    assert f"pid {leases.driver.pid}" in running["because"]


def test_missing_data_is_why_a_node_cannot_run(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]):
    spec = read(REPO / "sweeps" / "bad_minima" / "table2_heuristics.yaml")
    made = plan(spec, tmp_path)
    save_spec(made, store)
    key = next(key for key, node in made.nodes.items() if node.stage == "corrupt")
    because = told(capsys, "why", key, "--store", store.root, "--data", tmp_path)["because"]
    assert because.startswith("it cannot run: ")
    assert "cifar" in because


def test_a_node_that_no_sweep_needs(ran: Plan, store: Store, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(store.sweep_folder("steps"))
    told_of = told(capsys, "why", of_stage(ran, "first"), "--store", store.root)
    assert (told_of["needed_by"], told_of["will_run"], told_of["identity"]) == ({}, False, None)
    assert "sweep gc" in told_of["because"]
    assert "needed by no sweep" in said(capsys, "why", of_stage(ran, "first"), "--store", store.root)


def test_prefixes_that_name_no_node_or_several(ran: Plan, store: Store, capsys: pytest.CaptureFixture[str]):
    key = of_stage(ran, "first")
    other = key[:8] + ("0" if key[8] != "0" else "1") * 4
    message = said(capsys, "why", other, "--store", store.root, code=2)
    assert f"did you mean {key[:10]} (first)?" in message
    assert "keys are made of" in said(capsys, "why", "train", "--store", store.root, code=2)
    assert f"{len(ran.nodes)} nodes of" in said(capsys, "why", "", "--store", store.root, code=2)
    empty = said(capsys, "why", "ab", "--store", store.root / "none", code=2)
    assert "holds no nodes" in empty
    assert not (store.root / "none").exists()


def test_two_files_differ_in_a_field_and_in_trials(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(SPEC)
    two.write_text(SPEC.replace("x: 2", "x: 5").replace("seed: 2", "seed: 3"))
    found = told(capsys, "diff", one, two, "--store", store.root)
    assert found["trials"]["both"] == 8
    assert (found["trials"]["only_first"], len(found["trials"]["only_second"])) == ([], 4)
    assert found["fields"] == [{"field": "second.x", "first": "2", "second": "5", "trials": 8}]
    assert found["nodes"] == {
        "both": 6,
        "only_first": {"second": 4},
        "only_second": {"first": 1, "walk": 2, "second": 6},
    }
    text = said(capsys, "diff", one, two, "--store", store.root)
    assert "second.x: 2 -> 5  (8 trials)" in text
    assert said(capsys, "diff", one, one, "--store", store.root).splitlines()[3:] == [
        "trials  8 in both", "fields  the same", "nodes   10 in both",
    ]  # fmt: skip


def test_a_file_against_the_store_says_what_would_run_and_why(
    tmp_path: Path, ran: Plan, store: Store, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "steps.yaml"
    assert told(capsys, "diff", path, "--store", store.root)["new"] == [
        {"stage": "walk", "nodes": 2, "because": "was to be computed before, and is not done"}
    ]
    path.write_text(
        SPEC.replace("first:  {workload: tests.toys.noop, x: 1}", "first:  {workload: tests.toys.noop, x: 9}")
    )
    new = {item["stage"]: item for item in told(capsys, "diff", path, "--store", store.root)["new"]}
    assert (new["first"]["nodes"], new["first"]["because"]) == (2, "first.x: 1 -> 9")
    assert (new["second"]["nodes"], new["second"]["because"]) == (4, "starts from another first")
    named = told(capsys, "diff", "steps", path, "--store", store.root)
    assert named["fields"] == [{"field": "first.x", "first": "1", "second": "9", "trials": 8}]
    path.write_text(SPEC.replace("name: steps", "name: other"))
    assert {item["because"] for item in told(capsys, "diff", path, "--store", store.root)["new"]} == {
        "the store holds no such sweep"
    }


def test_what_cannot_be_compared(ran: Plan, store: Store, capsys: pytest.CaptureFixture[str]):
    assert "did you mean 'steps'" in said(capsys, "diff", "stepps", "--store", store.root, code=2)
    assert "no such file" in said(capsys, "diff", "steps", "other.yaml", "--store", store.root, code=2)


@pytest.mark.parametrize("command", [["why", "a"], ["diff", "steps"], ["gc"], ["plan", "SPEC"], ["status"]])
def test_nothing_heavy_is_loaded(ran: Plan, store: Store, tmp_path: Path, command: list[str]):
    words = [str(tmp_path / "steps.yaml") if word == "SPEC" else word for word in command]
    code = (
        "import sys; from orchestrator.cli import main; main(sys.argv[1:]); "
        "print('loaded', *sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", code, *words, "--store", str(store.root)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=REPO)
    assert done.stdout.splitlines()[-1].split() == ["loaded"], done.stderr
