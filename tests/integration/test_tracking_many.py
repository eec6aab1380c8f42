"""An experiment of 5,000 runs: what its page in MLflow's UI asks for comes in time."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.plan import Plan, PlannedTrial
from orchestrator.planning.node import Node
from orchestrator.running.events import Event, NodeDone, NodeLogged, NodeStarted
from orchestrator.space import Trial
from orchestrator.store import Outcome, Store
from orchestrator.to_mlflow.server import embedded_uri
from orchestrator.tracking import Tracker
from tests.chromium import PROGRAM, browser
from tests.integration.servers import MlflowServer

RUNS = 5000
LIMIT = 10.0  # seconds for the page
ROOT = Path(__file__).resolve().parents[2]


def a_plan() -> Plan:
    """Trials of a training each, 50 levels of a rate by 100 seeds."""
    nodes, planned = {}, []
    for index in range(RUNS):
        rate, seed = index % 50 / 50, index // 50
        settings = {f"setting{number}": number * rate for number in range(20)}
        config = {"optimizer": {"name": "sgd", "lr": rate}, **settings}
        nodes[f"fit-{index}"] = Node(f"fit-{index}", "fit", None, "toy", config, seed, {}, f"fit-{index}")
        trial = Trial({"fit.optimizer.lr": rate, "seed": seed}, {}, seed)
        planned.append(PlannedTrial(trial, f"trial-{index}", {"fit": f"fit-{index}"}, ("fit",)))
    spec = SimpleNamespace(record_name="many", scale="paper", axes={}, stages={})
    return Plan(spec, tuple(planned), nodes)  # pyright: ignore[reportArgumentType]


def events(key: str, now: float) -> list[Event]:
    metrics = {f"measure{number}": number / 7 for number in range(10)}
    outcome = Outcome(key, "toy", "done", metrics, {}, 0, None, 1.0, {"finished": now}, {})
    logged = [NodeLogged(key, step, {"train_loss": 1 / step, "test_accuracy": 0.5}, now) for step in range(1, 6)]
    return [NodeStarted(key, now, "host:1"), *logged, NodeDone(key, outcome, now)]


def ask(uri: str, path: str, question: dict[str, Any]) -> tuple[dict[str, Any], float]:
    request = urllib.request.Request(
        f"{uri}/ajax-api/2.0/mlflow/{path}", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    start = time.monotonic()
    with urllib.request.urlopen(request, timeout=100) as answer:
        return json.loads(answer.read()), time.monotonic() - start


@pytest.mark.mlflow
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_runs_of_a_large_experiment_come_in_time(tmp_path: Path) -> None:
    store, plan = Store.at(tmp_path / "store").prepare(), a_plan()
    start = time.monotonic()
    tracker = Tracker(plan, store, {}, ROOT / "data")
    for key in plan.nodes:
        for event in events(key, time.time()):
            tracker(event)
    assert tracker.close(timeout=120) == 0
    print(f"{RUNS} runs reached MLflow in {time.monotonic() - start:.1f} s")
    server = MlflowServer(tmp_path, embedded_uri(store))
    server.start()
    try:
        page = {
            "experiment_ids": ["1"],
            "order_by": ["attributes.start_time DESC"],
            "run_view_type": "ACTIVE_ONLY",
            "max_results": 100,
        }
        first, first_seconds = ask(server.uri, "runs/search", page)
        more, more_seconds = ask(server.uri, "runs/search", {**page, "page_token": first["next_page_token"]})
        found, sorted_seconds = ask(
            server.uri,
            "runs/search",
            {**page, "filter": "params.`fit.optimizer.lr` = '0.5'", "order_by": ["metrics.`measure3` DESC"]},
        )
        print(f"first page {first_seconds:.2f} s, second {more_seconds:.2f} s, filtered {sorted_seconds:.2f} s")
        assert (len(first["runs"]), len(more["runs"]), len(found["runs"])) == (100, 100, 100)
        assert max(first_seconds, more_seconds, sorted_seconds) < LIMIT
        if PROGRAM is None:
            pytest.skip("chromium is not installed: the page is not opened in a browser")
        with browser() as page:
            page.visit(f"{server.uri}/#/experiments/1/runs", 1400)
            seconds = page.shows("Training runs", "matching runs", "many", seconds=LIMIT)
            page.screenshot(tmp_path / "many.png", whole=False)
        print(f"the page shows its runs after {seconds:.1f} s")
    finally:
        server.stop()
