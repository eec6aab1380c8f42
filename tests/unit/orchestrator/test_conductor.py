"""Who is to blame where Ray or Tune ends work: a node, its machine, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import frontier as frontier_module
from orchestrator.frontier import ATTEMPTS, Frontier
from orchestrator.running import conductor as conductor_module
from orchestrator.running.conductor import BREAKDOWNS, Conductor
from orchestrator.running.events import NoRoom
from orchestrator.running.stopping import Stopping
from orchestrator.storage.leases import Leases
from orchestrator.store import Store
from tests.unit.orchestrator.test_frontier import node, plan

GONE = "The actor died because its node has died. Node Id: 3f7a"


@pytest.fixture
def frontier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Frontier]:
    monkeypatch.setattr(frontier_module, "BACKOFF", (0.0,))
    with Leases(Store.at(tmp_path).prepare()) as leases:
        yield Frontier(plan(node("a"), node("b"), targets="a b"), {}, leases, 2)


def started(conductor: Conductor, name: str) -> Any:
    """A trial of Tune's that has a group and a worker of that name."""
    assert conductor.next(name) is not None
    trial = placed(name)
    conductor.on_trial_start(0, [], trial)
    return trial


def ended(frontier: Frontier, error: str, times: int) -> None:
    for _ in range(times):
        conductor = Conductor(frontier, {}, Stopping(), lambda worker: None)
        trial = started(conductor, "aa")
        trial.get_error = lambda: error
        conductor.on_trial_error(0, [], trial)


def test_a_machine_that_goes_costs_no_attempt(frontier: Frontier):
    ended(frontier, GONE, 2 * ATTEMPTS)
    assert not frontier.failures


def test_a_worker_that_ends_costs_one(frontier: Frontier):
    ended(frontier, "Worker unexpectedly exits", ATTEMPTS)
    assert [*frontier.failures] == ["a"]


def breaking(conductor: Conductor, error: str, last: int) -> Callable[[], None]:
    """A Tune that starts two groups and fails, so often; then nothing is left to it."""
    calls = iter(range(last))

    def run() -> None:
        if next(calls, None) is None:
            return
        started(conductor, "aa")
        started(conductor, "bb")
        raise KeyError(error)

    return run


def test_where_tune_fails_by_itself_no_node_is_to_blame(frontier: Frontier):
    conductor = Conductor(frontier, {}, Stopping(), lambda worker: None)
    conductor.run(breaking(conductor, "pop from an empty set", ATTEMPTS + 1))
    assert conductor.error is None
    assert not frontier.failures
    assert frontier.next() is not None, "all is ready again"


def test_a_tune_that_fails_each_time_ends_the_run(frontier: Frontier):
    conductor = Conductor(frontier, {}, Stopping(), lambda worker: None)
    conductor.run(breaking(conductor, "pop from an empty set", 100))
    assert isinstance(conductor.error, KeyError)
    assert not frontier.failures
    assert BREAKDOWNS > ATTEMPTS


def test_the_worker_that_it_names_is_to_blame_and_no_other(frontier: Frontier):
    conductor = Conductor(frontier, {}, Stopping(), lambda worker: None)
    conductor.run(breaking(conductor, "the actor bb was killed due to the node running low on memory", ATTEMPTS))
    assert conductor.error is None
    assert len(frontier.failures) == 1
    assert frontier.failures.popitem()[1].error.startswith("out of host memory")


def test_where_no_machine_has_room_that_is_said_once_until_one_has(frontier: Frontier, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    now = iter(range(0, 10_000, 50))  # seconds: one look at the workers, one time
    monkeypatch.setattr(conductor_module, "time", SimpleNamespace(monotonic=lambda: next(now), time=lambda: 0.0))
    frontier.observers = (lambda event: said.append(event.why) if isinstance(event, NoRoom) else None,)
    conductor = Conductor(frontier, {}, Stopping(), lambda worker: None, "16 CPUs, kind=large")
    for _ in range(5):
        conductor.on_step_begin(0, [])
    assert said == [], "nothing is to be placed"
    assert conductor.next("aa") is not None
    for _ in range(10):
        conductor.on_step_begin(0, [])
    assert len(said) == 1
    assert "no machine has room for a worker (16 CPUs, kind=large)" in said[0]
    conductor.on_trial_start(0, [], placed("aa"))
    for _ in range(10):
        conductor.on_step_begin(0, [])
    assert len(said) == 1


def placed(name: str) -> Any:
    actor = SimpleNamespace(_actor_id=bytes.fromhex(name))
    return SimpleNamespace(trial_id=name, temporary_state=SimpleNamespace(ray_actor=actor), last_result={})
