"""What the frontier hands out first, what it costs to decide, and what counts as an attempt."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.frontier import MACHINES, Arrays, Frontier
from orchestrator.plan import Plan
from orchestrator.planning.needs import SMALL, urgencies
from orchestrator.running import arrivals
from orchestrator.running.arrivals import Arrivals
from orchestrator.running.grouping import Grouping
from orchestrator.storage.leases import Leases
from orchestrator.store import Store
from tests.unit.orchestrator.test_frontier import drain, finish, node, outcome, plan


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Leases]:
    with Leases(Store.at(tmp_path).prepare()) as made:
        yield made


def order(made: Plan, leases: Leases, seconds: dict[str, float]) -> str:
    return "".join(key for group in drain(Frontier(made, {}, leases, 1, seconds=seconds), seconds=9.0) for key in group)


def test_big_ones_go_first(leases: Leases):
    made = plan(node("a"), node("b"), node("c"), targets="a b c")
    assert order(made, leases, {"a": 1.0, "b": 30.0, "c": 2.0}) == "bca"


def test_what_starts_the_longest_chain_goes_before_a_bigger_one_that_starts_none(leases: Leases):
    made = plan(node("big"), node("a"), node("b", "a"), node("c", "b"), targets="big c")
    assert order(made, leases, {"big": 10.0, "a": 1.0, "b": 8.0, "c": 2.0}) == "abbigc"
    assert order(made, leases, {"big": 10.0, "a": 1.0, "b": 3.0, "c": 2.0}) == "bigabc"


def test_of_equal_chains_the_one_that_unlocks_most_goes_first(leases: Leases):
    made = plan(node("a"), node("b"), node("x", "a"), node("y", "b"), node("z", "b"), targets="x y z")
    reached = {"x": "a", "y": "b", "z": "b"}
    trials = [replace(trial, nodes={**trial.nodes, "first": reached[trial.key]}) for trial in made.trials]
    made = replace(made, trials=tuple(trials))
    assert order(made, leases, {})[0] == "b"
    assert order(made, leases, dict.fromkeys("abxyz", 5.0))[0] == "b"


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_chain_behind_each_node(seed: int):
    """Against a walk along every path."""
    draws = random.Random(seed)
    keys = [f"n{number:02}" for number in range(12)]
    nodes = [node(key, *draws.sample(keys[:place], min(place, draws.randrange(3)))) for place, key in enumerate(keys)]
    made, seconds = plan(*nodes, targets=" ".join(keys)), {key: draws.random() for key in keys if draws.random() < 0.8}

    def longest(key: str) -> tuple[float, int]:
        behind = [longest(item.key) for item in nodes if any(ref.key == key for ref in item.inputs.values())]
        own = seconds.get(key, 0.0)
        return own + max((chain for chain, _ in behind), default=0.0), max((1 + more for _, more in behind), default=0)

    found, small = {key: longest(key) for key in keys}, SMALL * max(chain for chain, _ in map(longest, keys))
    expected = {key: (math.inf if chain <= small else chain, stages) for key, (chain, stages) in found.items()}
    assert urgencies(made, seconds) == {key: pytest.approx(pair) for key, pair in expected.items()}


def test_what_takes_next_to_nothing_goes_first_and_finishes_trials(leases: Leases):
    made = plan(node("a"), node("m", "a"), node("b"), node("c"), targets="m b c")
    assert order(made, leases, {"a": 100.0, "m": 0.1, "b": 90.0, "c": 80.0}) == "ambc"


def test_machines_that_go_are_no_attempts_but_not_without_end(leases: Leases):
    frontier = Frontier(plan(node("a"), node("b"), targets="a b"), {}, leases, 1)
    for _ in range(MACHINES - 1):
        group = frontier.next()
        assert group is not None, "it is ready again at once"
        assert group.nodes[0].key == "a"
        frontier.taken_away(group, "its node has died")
    assert not frontier.failures
    group = frontier.next()
    assert group is not None
    frontier.taken_away(group, "its node has died")
    assert frontier.failures["a"].error == f"{MACHINES} machines went while they computed it"
    assert drain(frontier) == [["b"]]
    assert frontier.finished


def test_a_machine_that_goes_behind_a_commit_took_nothing(leases: Leases):
    frontier = Frontier(plan(node("a"), targets="a"), {}, leases, 1)
    group = frontier.next()
    assert group is not None
    leases.store.commit_rows([outcome("a")])
    frontier.taken_away(group, "its node has died")
    assert frontier.finished
    assert "a" in frontier.done


@pytest.mark.parametrize("arrays", [Arrays(), Arrays(on=True), Arrays(on=True, slots=3)])
def test_a_group_is_chosen_as_by_looking_at_all_that_is_ready(arrays: Arrays):
    """What `Grouping` keeps up to date against what it would find if it looked anew."""
    draws = random.Random(3)
    nodes = [replace(node(f"{number:02}"), array=f"kind{number % 3}" if number % 5 else None) for number in range(60)]
    made = plan(*nodes, targets=" ".join(item.key for item in nodes))
    grouping, ready = Grouping(made, 4, arrays), {}
    for item in nodes:
        grouping.add(item.key)
    grouping.finish("00", 0.01)
    for _ in range(300):
        key = f"{draws.randrange(60):02}"
        if draws.random() < 0.7:
            grouping.make_ready(key)
            ready[key] = None
        else:
            grouping.leave(key)
            ready.pop(key, None)
        assert grouping.ready == ready.keys()
        if ready:
            first = draws.choice([*ready])
            assert grouping.choose(first) == by_looking(made, ready, first, arrays)


def by_looking(made: Plan, ready: dict[str, None], first: str, arrays: Arrays) -> list[str]:
    kind = made.nodes[first].array
    if arrays.on and kind is not None:
        alike = [key for key in ready if made.nodes[key].array == kind]
        share = max(-(-len(alike) // 4), arrays.slots or 1)
    else:
        alike = [*ready]
        share = max(1, min(-(-len(alike) // 8), 100))
    return [first, *(key for key in alike if key != first)][:share]


@pytest.mark.parametrize("share", [arrivals.SHARE, arrivals.URGENT])
def test_slow_listings_take_a_small_part_of_the_time(leases: Leases, monkeypatch: pytest.MonkeyPatch, share: float):
    now, listed = 0.0, []

    def slow(store: Store, seen: set[str]) -> dict[str, Any]:
        nonlocal now
        listed.append(now)
        now += 0.2
        return {}

    monkeypatch.setattr(arrivals, "arrived", slow)
    monkeypatch.setattr(arrivals.time, "perf_counter", lambda: now)
    found = Arrivals(leases.store, leases.alone)
    for _ in range(10_000):
        found.of([], (), share)
        now += 0.01
    assert 0.5 * share < len(listed) * 0.2 / now <= 1.1 * share
    with Leases(leases.store):
        listed.clear()
        for _ in range(10):
            found.of([], (), share)
    assert len(listed) == 10, "beside another driver each time: it may have finished what we have just claimed"


def test_what_nobody_awaits_is_not_kept(leases: Leases):
    found = Arrivals(leases.store, leases.alone)
    leases.store.commit_rows([outcome("a"), outcome("b")])
    assert found.of(["c"], {"a"}) == {}
    assert found.of(["a", "b"], {"a"}) == {"a": outcome("a")}
    assert found.of(["a"], {"a"}) == {}, "given once"


def test_reports_of_what_is_done_already_change_nothing(leases: Leases):
    frontier = Frontier(plan(node("a"), targets="a"), {}, leases, 1)
    assert frontier.next() is not None
    finish(frontier, "a", "a")
    assert frontier.executed == 1
