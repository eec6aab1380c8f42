"""The tracker with a real MLflow on sqlite: what is shown, and that nothing is lost or doubled whoever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy
import pytest

from orchestrator.errors import NotFound, SweepError
from orchestrator.plan import Plan, PlannedTrial
from orchestrator.planning.node import InputRef, Node
from orchestrator.running.events import (
    Event,
    InputDamaged,
    NodeDone,
    NodeFailed,
    NodeLogged,
    NodeSampled,
    NodeSkipped,
    NodeStarted,
)
from orchestrator.running.files import files_of
from orchestrator.space import Trial
from orchestrator.store import Failure, Outcome, Store
from orchestrator.to_mlflow.server import embedded_uri, ui
from orchestrator.tracking import Tracker, sync
from workloads.contract import Result

pytestmark = pytest.mark.mlflow
ROOT = Path(__file__).resolve().parents[2]
T = 1_700_000_000.0
DATA = ROOT / "data"
Run = Any


def a_plan(num_seeds: int = 2) -> Plan:
    """Per seed a `fit` that two trials share; each goes on and is measured twice."""
    nodes: dict[str, Node] = {}
    trials = []
    for seed in range(num_seeds):
        fit = f"fit-{seed}"
        nodes[fit] = Node(fit, "fit", None, "toy", {"model": {"name": "mlp", "width": 32}}, seed, {}, fit)
        for rate in (0.1, 0.2):
            go = f"go-{seed}-{rate}"
            config = {"optimizer": {"name": "sgd", "lr": rate}, "start": {"from": None}}
            nodes[go] = Node(go, "go_on", None, "toy", config, seed, {"start": InputRef(fit, "end")}, go)
            labels = {"fit": fit, "go_on": go}
            for part in ("test_accuracy", "norm"):
                key = labels[f"measure.{part}"] = f"{part}-{seed}-{rate}"
                config = {"data": {"name": "digits"}, "measures": [part]}
                nodes[key] = Node(key, "measure", part, "measure", config, seed, {"input": InputRef(go, "end")}, go)
            trial = Trial({"go_on.optimizer.lr": rate, "seed": seed}, {}, seed)
            trials.append(
                PlannedTrial(trial, f"trial-{seed}-{rate}", labels, ("measure.test_accuracy", "measure.norm"))
            )
    return Plan(SimpleNamespace(record_name="demo@smoke", scale="smoke", axes={}, stages={}), tuple(trials), nodes)  # pyright: ignore[reportArgumentType]


def outcome(plan: Plan, key: str) -> Outcome:
    node = plan.nodes[key]
    metrics = {node.part: 0.5 + node.seed} if node.part else {"train_loss": 0.125}
    return Outcome(key, "toy", "done", metrics, {}, node.seed, None, 1.0, {"finished": T + 9}, {})


def events(plan: Plan, key: str) -> list[Event]:
    """What a node publishes that logs, unless it measures, three epochs."""
    found: list[Event] = [NodeStarted(key, T, "host:1")]
    if plan.nodes[key].part is None:
        found += [NodeLogged(key, step, {"train_loss": 1 / step}, T + step) for step in (1, 2, 3)]
    return [*found, NodeDone(key, outcome(plan, key), T + 9)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that never held an MLflow."""
    return Store.at(tmp_path / "a störe, 50%20?").prepare()


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: that takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def used_store(store: Store, empty_mlflow: Path) -> Store:
    """A store with an empty MLflow."""
    shutil.copy(empty_mlflow, store.root / "mlflow.db")
    return store


def client(store: Store) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(embedded_uri(store))


def runs(store: Store) -> dict[str, Run]:
    """All runs by their key; no key has two."""
    reader = client(store)
    experiment = reader.get_experiment_by_name("demo@smoke")
    found = [] if experiment is None else list(reader.search_runs([experiment.experiment_id]))
    by_key = {run.data.tags["sweep.key"]: run for run in found}
    assert len(by_key) == len(found), "a run was made twice"
    return by_key


def history(store: Store, run: Run, name: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client(store).get_metric_history(run.info.run_id, name))


def assert_complete(store: Store, plan: Plan) -> None:
    """Every trial is there once, finished, with its metrics and its whole curve."""
    found = runs(store)
    for trial in plan.trials:
        run = found[trial.key]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test_accuracy"] == 0.5 + trial.trial.seed
        assert history(store, run, "go_on/train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
        assert len(history(store, run, "test_accuracy")) == 1


def artifacts(store: Store, run: Run) -> list[str]:
    folder = Path(unquote(urlsplit(run.info.artifact_uri).path))
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_sweep_is_shown(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    plan = a_plan()
    tracker = Tracker(plan, store, {"fit-1": outcome(plan, "fit-1")}, DATA)
    failed = "go-1-0.2"
    for key in plan.nodes:
        if key not in ("fit-1", failed) and not key.endswith("1-0.2"):
            for event in events(plan, key):
                tracker(event)
    tracker(NodeStarted(failed, T, "w"))
    tracker(NodeFailed(failed, Failure(failed, "ValueError: no", "Traceback", {}), T + 5))
    tracker(NodeSkipped("test_accuracy-1-0.2", failed, T + 5))
    tracker(NodeSkipped("norm-1-0.2", failed, T + 5))
    assert tracker.close(exhibits=lambda: {"texts": {"tables/one.md": "| 1 |"}}) == 0
    assert not [path for path in store.spool.rglob("*") if path.is_file() and path.stat().st_size]

    found = runs(store)
    (parent,) = (run for key, run in found.items() if key.startswith("sweep-run-"))
    assert (parent.info.run_name, parent.info.status) == ("demo@smoke", "FAILED")
    assert parent.data.tags["sweep.name"] == "demo@smoke"
    assert "version.mlflow" in parent.data.tags
    trial = found["trial-0-0.1"]
    assert (trial.info.run_name, trial.info.status) == ("lr=0.1 seed=0", "FINISHED")
    assert trial.info.end_time == (T + 9) * 1000
    assert trial.data.params == {
        "go_on.optimizer.lr": "0.1",
        "seed": "0",
        "fit.model.name": "mlp",
        "fit.model.width": "32",
        "go_on.optimizer.name": "sgd",
        "measure.data.name": "digits",
        "measure.parts": "test_accuracy, norm",
    }
    assert trial.data.metrics == {"test_accuracy": 0.5, "norm": 0.5, "go_on/train_loss": 1 / 3}
    assert history(store, trial, "go_on/train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    tags = trial.data.tags
    assert tags["mlflow.parentRunId"] == parent.info.run_id
    assert (tags["group"], tags["sweep.group"]) == ("lr=0.1", "lr=0.1")
    assert (tags["node.go_on"], tags["shared.fit"], tags["sweep.store"]) == ("go-0-0.1", "fit-0", str(store.root))
    assert (tags["sweep.scale"], tags["sweep.stage"], tags["sweep.status"]) == ("smoke", "measure", "done")
    assert {"version.torch", "version.python", "sweep.host"} <= tags.keys()
    shared = found["fit-0"]
    assert tags["shared.runs"] == shared.info.run_id
    assert f"/runs/{shared.info.run_id})" in tags["mlflow.note.content"]
    users = {found[key].info.run_id for key in ("trial-0-0.1", "trial-0-0.2")}
    assert set(shared.data.tags["used_by.runs"].split(", ")) == users
    assert artifacts(store, trial) == ["config.json", "log.txt"]
    assert artifacts(store, parent) == ["tables/one.md"]
    assert (shared.info.run_name, shared.info.status) == ("fit seed=0", "FINISHED")
    assert (shared.data.tags["shared"], shared.data.tags["used_by"]) == ("true", "2")
    assert shared.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert history(store, shared, "fit/train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert (found["fit-1"].info.status, found["fit-1"].data.metrics) == ("FINISHED", {"train_loss": 0.125})
    broken = found["trial-1-0.2"]
    assert (broken.info.status, broken.data.tags["error"]) == ("FAILED", "go_on: ValueError: no")
    assert "Traceback" in Path(unquote(urlsplit(broken.info.artifact_uri).path), "log.txt").read_text()

    # The next run takes up what failed, in the same MLflow run, and says nothing of what was finished.
    finished = {key: outcome(plan, key) for key in plan.nodes if not key.endswith("1-0.2")}
    tracker = Tracker(plan, store, finished, DATA)
    for key in (failed, "test_accuracy-1-0.2", "norm-1-0.2"):
        for event in events(plan, key):
            tracker(event)
    assert tracker.close() == 0
    assert_complete(store, plan)
    again = runs(store)
    assert len(again) == len(found) + 1, "the run above"
    assert again["trial-1-0.2"].info.run_id == broken.info.run_id
    assert "error" not in again["trial-1-0.2"].data.tags
    assert again["trial-0-0.1"].data.tags["mlflow.parentRunId"] == parent.info.run_id

    # And when all is done, nothing happens at all.
    tracker = Tracker(plan, store, {key: outcome(plan, key) for key in plan.nodes}, DATA)
    assert tracker.close() == 0
    assert len(runs(store)) == len(again)
    assert sync(store) == 0
    assert "MLflow has everything" in capsys.readouterr().out


def test_a_killed_writer_is_followed_by_another(used_store: Store) -> None:
    store = used_store
    plan = a_plan(num_seeds=6)
    tracker = Tracker(plan, store, {}, DATA)
    told = [event for key in plan.nodes for event in events(plan, key)]
    for event in told[:50]:
        tracker(event)
    ledger = tracker.log.with_suffix(".jsonl")
    wait_for(lambda: ledger.exists() and b'"trial-0-0.1"' in ledger.read_bytes())
    assert tracker._writer is not None
    os.kill(tracker._writer.pid, signal.SIGKILL)
    for event in told[50:]:
        tracker(event)
    assert tracker.close() == 0
    assert_complete(store, plan)


def test_a_node_whose_end_no_driver_heard_of_is_shown_as_it_ended(used_store: Store) -> None:
    """The driver was killed after the worker had kept the node: run and curve are completed from the store."""
    store, plan = used_store, a_plan(1)
    first = Tracker(plan, store, {}, DATA)
    for event in [*events(plan, "fit-0")[:3], *events(plan, "go-0-0.1")[:2]]:
        first(event)
    assert first.close() == 0
    cut = runs(store)
    assert (cut["fit-0"].info.status, cut["trial-0-0.1"].info.status) == ("KILLED", "KILLED")
    rows = [{"step": step, "train_loss": 1 / step} for step in (1, 2, 3)]
    done = {}
    for key in ("fit-0", "go-0-0.1"):
        result = Result({}, arrays={"x": numpy.ones(2)})
        done[key] = store.commit_folder(outcome(plan, key), files_of(result, rows, {"note.txt": b"kept"}))
    second = Tracker(plan, store, done, DATA)
    for key in [key for key in plan.nodes if key not in done]:
        for event in events(plan, key):
            second(event)
    assert second.close() == 0
    assert_complete(store, plan)
    found = runs(store)
    shared, trial = found["fit-0"], found["trial-0-0.1"]
    assert (shared.info.run_id, shared.info.status) == (cut["fit-0"].info.run_id, "FINISHED")
    assert history(store, shared, "fit/train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    shown = ["config.json", "curves/go_on.svg", "go_on/arrays.npz", "go_on/note.txt", "log.txt"]
    assert artifacts(store, trial) == shown
    linked = Path(unquote(urlsplit(trial.info.artifact_uri).path), "go_on", "arrays.npz")
    assert linked.samefile(store.node_folder("go-0-0.1") / "arrays.npz"), "no copy"


def test_a_worker_that_began_again_doubles_no_point(used_store: Store) -> None:
    store, plan = used_store, a_plan(1)
    tracker = Tracker(plan, store, {}, DATA)
    for key in plan.nodes:
        told = events(plan, key)
        again = [replace(event, time=event.time + 100) for event in told[:3]] if key == "go-0-0.1" else []
        for event in [*told[:3], *again, *told[3:]]:
            tracker(event)
    assert tracker.close() == 0
    assert_complete(store, plan)


def test_what_was_damaged_and_is_computed_again_is_finished_again(used_store: Store) -> None:
    """A shared node, whose run an earlier driver ended, and the target of a trial that this one has ended."""
    store, plan = used_store, a_plan(1)
    first = Tracker(plan, store, {}, DATA)
    for event in events(plan, "fit-0"):
        first(event)
    assert first.close() == 0
    second = Tracker(plan, store, {"fit-0": outcome(plan, "fit-0")}, DATA)
    second(NodeStarted("go-0-0.1", T, "w"))
    second(InputDamaged("go-0-0.1", "fit-0", "damaged", T + 1, frozenset({"fit-0"})))
    for key in plan.nodes:
        for event in events(plan, key):
            second(event)
    second(InputDamaged("norm-0-0.1", "norm-0-0.1", "damaged", T + 2, frozenset({"norm-0-0.1"})))
    for event in events(plan, "norm-0-0.1"):
        second(event)
    assert second.close() == 0
    assert_complete(store, plan)
    found = runs(store)
    assert history(store, found["fit-0"], "fit/train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    ended = {key: run.info.status for key, run in found.items() if not key.startswith("sweep-run-")}
    assert ended == dict.fromkeys(ended, "FINISHED")
    assert {"fit-0", "trial-0-0.1", "trial-0-0.2"} == ended.keys()


def test_a_measure_of_several_trials_that_said_something_ends_as_it_did(used_store: Store) -> None:
    store, plan = used_store, a_plan(1)
    one = plan.trials[0]
    other = replace(one, trial=Trial({"go_on.optimizer.lr": 0.3, "seed": 0}, {}, 0), key="other")
    plan = replace(plan, trials=(one, other), nodes={key: plan.nodes[key] for key in one.nodes.values()})
    tracker = Tracker(plan, store, {}, DATA)
    for key in ("fit-0", "go-0-0.1"):
        for event in events(plan, key):
            tracker(event)
    started, done = events(plan, "test_accuracy-0-0.1")
    for event in (started, NodeSampled("test_accuracy-0-0.1", 30, {"cpu_utilization_percentage": 9.0}, T + 8), done):
        tracker(event)
    tracker(NodeStarted("norm-0-0.1", T, "w"))
    tracker(NodeLogged("norm-0-0.1", 1, {"inner": 1.0}, T + 1))
    tracker(NodeFailed("norm-0-0.1", Failure("norm-0-0.1", "ValueError: no", "Traceback", {}), T + 5))
    assert tracker.close() == 0
    found = runs(store)
    assert found["test_accuracy-0-0.1"].info.status == "FINISHED"
    assert found["test_accuracy-0-0.1"].data.metrics["system/cpu_utilization_percentage"] == 9
    assert found["norm-0-0.1"].info.status == "FAILED"
    assert found["other"].info.status == "FAILED"


def test_a_killed_driver_leaves_runs_that_are_killed_and_then_go_on(used_store: Store) -> None:
    store = used_store
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_tracking import *
        plan, store = a_plan(1), Store.at({str(store.root)!r})
        tracker = Tracker(plan, store, {{}}, DATA)
        for event in [*events(plan, "fit-0"), *events(plan, "go-0-0.1")[:3]]:
            tracker(event)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    driver = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}
    )
    assert driver.returncode == -signal.SIGKILL
    wait_for(lambda: not [*store.spool.glob("*/*.jsonl")])
    cut = runs(store)
    assert {run.info.run_name: run.info.status for run in cut.values()} == {
        "demo@smoke": "KILLED",
        "fit seed=0": "FINISHED",
        "lr=0.1 seed=0": "KILLED",
    }
    assert history(store, cut["trial-0-0.1"], "go_on/train_loss") == [(1, 1.0), (2, 0.5)]
    plan = a_plan(1)
    tracker = Tracker(plan, store, {"fit-0": outcome(plan, "fit-0")}, DATA)
    for key in [key for key in plan.nodes if key != "fit-0"]:
        for event in events(plan, key):
            tracker(event)
    assert tracker.close() == 0
    assert_complete(store, plan)
    assert runs(store)["trial-0-0.1"].info.run_id == cut["trial-0-0.1"].info.run_id


def test_a_dead_mlflow_costs_nothing_and_is_caught_up(used_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store = used_store
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        plan = a_plan(1)
        tracker = Tracker(plan, store, {}, DATA, f"http://127.0.0.1:{taken.getsockname()[1]}")
        for key in plan.nodes:
            for event in events(plan, key):
                tracker(event)
        left = tracker.close(timeout=0.5)
    assert left > 10
    assert [*store.spool.glob("*/*.jsonl")]
    assert sync(store, embedded_uri(store)) == 0
    assert "1 of 1 files sent" in capsys.readouterr().out
    assert_complete(store, plan)


def test_a_password_in_the_uri_and_an_empty_store_are_refused(store: Store) -> None:
    with pytest.raises(SweepError, match="MLFLOW_TRACKING_PASSWORD"):
        Tracker(a_plan(), store, {}, DATA, "https://me:secret@example.org")
    with pytest.raises(NotFound, match="sweep run"):
        ui(store)
