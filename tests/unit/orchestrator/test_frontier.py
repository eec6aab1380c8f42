"""The frontier: order, groups, failures, lost workers, other drivers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import frontier as frontier_module
from orchestrator.frontier import ATTEMPTS, Arrays, Frontier
from orchestrator.plan import Plan, PlannedTrial
from orchestrator.planning.needs import needed
from orchestrator.planning.node import InputRef, Node
from orchestrator.running.events import Event, InputDamaged, NodeDone, NodeFailed, NodeSkipped
from orchestrator.storage.leases import Leases
from orchestrator.store import Failure, Outcome, Store


def node(key: str, *parents: str, stage: str = "stage", siblings: str | None = None) -> Node:
    inputs = {parent: InputRef(parent, "end") for parent in parents}
    return Node(key, stage, None, "toy", {}, 0, inputs, siblings or key)


def plan(*nodes: Node, targets: str) -> Plan:
    trials = [PlannedTrial(SimpleNamespace(), target, {"stage": target}, ("stage",)) for target in targets.split()]  # pyright: ignore[reportArgumentType]
    return Plan(SimpleNamespace(axes={}, stages={}), tuple(trials), {item.key: item for item in nodes})  # pyright: ignore[reportArgumentType]


def outcome(key: str, seconds: float = 0.001) -> Outcome:
    return Outcome(key, "toy", "done", {"value": 1.0}, {}, 0, None, seconds, {}, {})


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Leases]:
    with Leases(Store.at(tmp_path).prepare()) as made:
        yield made


def finish(frontier: Frontier, *keys: str, seconds: float = 0.001) -> None:
    for key in keys:
        frontier.record(NodeDone(key, outcome(key, seconds), 0.0))


def drain(frontier: Frontier, **options: Any) -> list[list[str]]:
    """Run everything, one group after the other; the keys of each group."""
    groups = []
    while group := frontier.next():
        groups.append([item.key for item in group.nodes])
        finish(frontier, *groups[-1], **options)
    return groups


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has lost its worker is tried again without a pause."""
    monkeypatch.setattr(frontier_module, "BACKOFF", (0.0,))


def test_inputs_come_first_and_the_longest_chain_before_leaves(leases: Leases):
    made = plan(node("leaf"), node("a"), node("b", "a"), node("c", "b"), targets="leaf c")
    assert drain(Frontier(made, {}, leases, 1), seconds=9.0) == [["a"], ["b"], ["leaf"], ["c"]]


def test_what_is_done_is_not_needed_nor_what_only_it_needed(leases: Leases):
    made = plan(node("a"), node("b", "a"), node("c", "b"), targets="c")
    assert needed(made, {"b": outcome("b")}) == {"c"}
    frontier = Frontier(made, {"b": outcome("b")}, leases, 1)
    assert drain(frontier) == [["c"]]
    assert frontier.finished
    assert frontier.executed == 1


def test_siblings_go_together(leases: Leases):
    parts = [node(key, "a", siblings="s") for key in "xyz"]
    assert drain(Frontier(plan(node("a"), *parts, targets="x y z"), {}, leases, 4)) == [["a"], ["x", "y", "z"]]


def test_small_nodes_are_packed_once_their_cost_is_known_and_large_ones_are_not(leases: Leases):
    many = [node(f"{number:03}") for number in range(100)]
    targets = " ".join(item.key for item in many)
    small = drain(Frontier(plan(*many, targets=targets), {}, leases, 2), seconds=0.001)
    assert len(small[0]) == 1
    assert sum(map(len, small)) == 100
    assert len(small) < 30
    assert max(map(len, small)) <= 25, "no group may starve the other slot"
    large = drain(Frontier(plan(*many, targets=targets), {}, leases, 2), seconds=5.0)
    assert all(len(group) == 1 for group in large)


def test_failure_skips_dependants_and_the_rest_goes_on(leases: Leases):
    made = plan(node("a"), node("b", "a"), node("c", "b"), node("other"), targets="c other")
    seen: list[Event] = []
    frontier = Frontier(made, {}, leases, 1, [seen.append])
    group = frontier.next()
    assert group is not None
    assert [item.key for item in group.nodes] == ["a"]
    frontier.record(NodeFailed("a", Failure("a", "ValueError: no", "", {}), 0.0))
    assert [(event.key, event.because) for event in seen if isinstance(event, NodeSkipped)] == [("b", "a"), ("c", "a")]
    assert drain(frontier) == [["other"]]
    assert frontier.finished
    assert frontier.skipped == {"b": "a", "c": "a"}


@pytest.mark.usefixtures("at_once")
def test_lost_worker_is_tried_again_but_not_for_ever(leases: Leases):
    frontier = Frontier(plan(node("a"), targets="a"), {}, leases, 1)
    for attempt in range(ATTEMPTS):
        group = frontier.next()
        assert group is not None, attempt
        frontier.lost(group, "worker died")
    assert frontier.next() is None
    assert frontier.finished
    assert frontier.failures["a"].error == "worker died"


def test_pauses_after_lost_workers_grow(leases: Leases, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(frontier_module.time, "monotonic", lambda: now)
    frontier = Frontier(plan(node("a"), targets="a"), {}, leases, 1)
    for pause in (0.5, 2.0):
        group = frontier.next()
        assert group is not None
        frontier.lost(group, "worker died")
        now += pause - 0.01
        assert frontier.next() is None
        now += 0.02
    assert frontier.next() is not None


def test_a_worker_that_had_to_leave_counts_against_no_node(leases: Leases):
    frontier = Frontier(plan(node("a"), targets="a"), {}, leases, 1)
    for _ in range(2 * ATTEMPTS):
        group = frontier.next()
        assert group is not None
        frontier.give_back(group)
    assert not frontier.finished
    assert not frontier.failures


def test_a_damaged_input_is_computed_again_and_all_that_starts_from_it_waits(leases: Leases):
    told: list[Event] = []
    made = plan(node("a"), node("b", "a"), node("c", "a"), node("d", "a"), targets="b c d")
    frontier = Frontier(made, {"a": outcome("a"), "d": outcome("d")}, leases, 1, [told.append])
    first, second = frontier.next(), frontier.next()
    assert first is not None
    assert second is not None
    assert {first.nodes[0].key, second.nodes[0].key} == {"b", "c"}
    frontier.record(InputDamaged("b", "a", "a is damaged", 0.0))
    frontier.record(InputDamaged("c", "a", "a is damaged", 0.0))
    assert [event.nodes for event in told if isinstance(event, InputDamaged)] == [{"a"}, frozenset()]
    assert frontier.damaged == {"a": "a is damaged"}
    assert sorted(drain(frontier)) == [["a"], ["b"], ["c"]]
    assert frontier.finished
    assert not frontier.failures


def test_what_waits_after_a_lost_worker_is_not_handed_out_twice_when_an_input_is_computed_again(leases: Leases):
    """The input that is there again releases it before its pause is over."""
    now = 100.0
    made = plan(node("a"), node("b", "a"), node("c", "a"), targets="b c")
    frontier = Frontier(made, {"a": outcome("a")}, leases, 2, clock=lambda: now)
    groups = [frontier.next(), frontier.next()]
    first, second = [group for group in groups if group is not None]
    frontier.lost(first, "worker died")
    frontier.record(InputDamaged(second.nodes[0].key, "a", "a is damaged", 0.0))
    again = frontier.next()
    assert again is not None
    assert [item.key for item in again.nodes] == ["a"]
    finish(frontier, "a")
    running = [item.key for group in (frontier.next(), frontier.next()) if group is not None for item in group.nodes]
    assert sorted(running) == ["b", "c"]
    now += 60
    assert frontier.next() is None, "both are at work"
    finish(frontier, "b", "c")
    assert frontier.next() is None
    assert frontier.finished


def test_an_input_of_an_input_is_computed_again_too(leases: Leases):
    """What `b` lacks need not be its own input: initial weights are those of the node that its input started from."""
    made = plan(node("root"), node("a", "root"), node("m", "a"), node("b", "m"), targets="b")
    frontier = Frontier(made, {"m": outcome("m")}, leases, 1)
    group = frontier.next()
    assert group is not None
    frontier.record(InputDamaged("b", "a", "a is gone", 0.0))
    assert drain(frontier) == [["root"], ["a"], ["b"]]


def test_an_input_that_is_damaged_each_time_fails_what_needs_it(leases: Leases):
    frontier = Frontier(plan(node("a"), node("b", "a"), targets="b"), {}, leases, 1)
    for _ in range(100):
        group = frontier.next()
        if group is None:
            break
        [key] = [item.key for item in group.nodes]
        if key == "a":
            finish(frontier, "a")
        else:
            frontier.record(InputDamaged("b", "a", "a is damaged", 0.0))
    assert frontier.finished
    assert frontier.failures["b"].error == "a is damaged"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("arrays", [Arrays(), Arrays(on=True)])
@pytest.mark.parametrize("guilty", "abcd")
def test_a_node_that_ends_its_workers_takes_no_other_with_it(leases: Leases, arrays: Arrays, guilty: str):
    many = [replace(node(key, siblings="s"), array="kind") for key in "abcd"]
    frontier = Frontier(plan(*many, targets="a b c d"), {}, leases, 1, arrays=arrays)
    sizes = []
    while group := frontier.next():
        sizes.append(len(group.nodes))
        if guilty in [item.key for item in group.nodes]:
            frontier.lost(group, "worker died")
        else:
            finish(frontier, *[item.key for item in group.nodes])
    assert frontier.finished
    assert frontier.failures.keys() == {guilty}
    assert sizes == [4, 4, 1, 1, 1, 1], "together as long as there is another chance"


def test_lost_worker_that_had_committed_lost_nothing(leases: Leases):
    frontier = Frontier(plan(node("a"), targets="a"), {}, leases, 1)
    group = frontier.next()
    assert group is not None
    leases.store.commit_rows([outcome("a")])
    frontier.lost(group, "worker died")
    assert frontier.finished
    assert "a" in frontier.done


def test_a_node_of_another_driver_is_waited_for_and_taken_from_the_store(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(frontier_module, "ELSEWHERE_SECONDS", 0.0)
    made = plan(node("a"), node("b", "a"), targets="b")
    with Leases(leases.store) as other:
        assert other.claim("a")
        frontier = Frontier(made, {}, leases, 1)
        assert frontier.next() is None
        leases.store.commit_rows([outcome("a")])
        other.release("a")
        group = frontier.next()
        assert group is not None
        assert [item.key for item in group.nodes] == ["b"]
        assert frontier.executed == 0


def test_what_another_driver_finished_meanwhile_is_not_run_again(leases: Leases):
    frontier = Frontier(plan(node("a"), node("b", "a"), node("c"), targets="b c"), {}, leases, 1)
    leases.store.commit_rows([outcome("a"), outcome("c")])  # by a driver that came and went
    assert drain(frontier) == [["b"]]
    assert frontier.executed == 1


def alike(key: str, array: str | None = "kind") -> Node:
    return replace(node(key), array=array)


def test_with_arrays_on_a_group_is_a_workers_share_of_like_nodes(leases: Leases):
    many = [alike(f"a{number}") for number in range(7)] + [alike("other", "another kind"), node("none")]
    made = plan(*many, targets=" ".join(item.key for item in many))
    frontier = Frontier(made, {}, leases, 2, arrays=Arrays(on=True))
    first = frontier.next()
    assert first is not None
    assert first.together
    assert [item.key for item in first.nodes] == ["a0", "a1", "a2", "a3"], "the half of two workers"
    second = frontier.next()
    assert second is not None
    assert [item.key for item in second.nodes] == ["a4", "a5"]
    rest = [frontier.next() for _ in range(3)]
    assert [[item.key for item in group.nodes] for group in rest if group] == [["a6"], ["other"], ["none"]]
    assert [group.together for group in rest if group] == [True, True, False]


def test_a_group_fills_the_slots_that_were_asked_for(leases: Leases):
    many = [alike(f"a{number}") for number in range(7)]
    made = plan(*many, targets=" ".join(item.key for item in many))
    frontier = Frontier(made, {}, leases, 4, arrays=Arrays(on=True, slots=6))
    groups = [frontier.next(), frontier.next()]
    assert [len(group.nodes) for group in groups if group] == [6, 1]
    assert {group.slots for group in groups if group} == {6}


@pytest.mark.usefixtures("at_once")
def test_lost_nodes_of_an_array_are_handed_out_again_once(leases: Leases):
    many = [alike(f"a{number}") for number in range(3)]
    frontier = Frontier(plan(*many, targets="a0 a1 a2"), {}, leases, 1, arrays=Arrays(on=True))
    group = frontier.next()
    assert group is not None
    finish(frontier, "a1")
    frontier.lost(group, "gone")
    again = frontier.next()
    assert again is not None
    assert sorted(item.key for item in again.nodes) == ["a0", "a2"]
    assert frontier.next() is None


def test_with_arrays_off_like_nodes_go_one_by_one(leases: Leases):
    frontier = Frontier(plan(alike("a"), alike("b"), targets="a b"), {}, leases, 1)
    group = frontier.next()
    assert group is not None
    assert not group.together
    assert len(group.nodes) == 1
