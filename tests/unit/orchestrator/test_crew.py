"""Which node of a group has had its time, also where its worker can say nothing; and whether Ray answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.errors import EngineLost
from orchestrator.planning.node import Node
from orchestrator.running import crew as crew_module
from orchestrator.running import pulse as pulse_module
from orchestrator.running.crew import SILENCE, Crew, last_words, machine_gone
from orchestrator.running.events import NodeFailed, NodeStarted
from orchestrator.running.grouping import Group
from orchestrator.running.pulse import LOST_SECONDS, Pulse
from orchestrator.store import Failure


class Clock:
    """The monotonic clock, as a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(crew_module, "time", made)
    monkeypatch.setattr(pulse_module, "time", made)
    return made


def node(key: str, seconds: float | None) -> Node:
    return Node(key, "stage", None, "toy", {}, 0, {}, key, time_limit=seconds)


def at_work(clock: Clock, *nodes: Node) -> Crew:
    return Crew(Group(nodes), worker="somebody", heard=clock.now)


def overdue(crew: Crew) -> str | None:
    found = crew.overdue()
    return None if found is None else found.key


def test_time_counts_from_the_start_of_a_node(clock: Clock):
    crew = at_work(clock, node("a", 10.0), node("b", 10.0))
    clock.now += 8
    crew.hear([NodeStarted("a", 0.0, "here:1")])
    clock.now += 9
    crew.hear([])
    assert overdue(crew) is None
    clock.now += 2
    assert overdue(crew) == "a"
    crew.hear([NodeFailed("a", Failure("a", "time", "", {}), 0.0), NodeStarted("b", 0.0, "here:1")])
    assert overdue(crew) is None


def test_a_worker_that_can_say_nothing_has_its_time_too(clock: Clock):
    crew = at_work(clock, node("a", 10.0))
    clock.now += SILENCE + 9
    assert overdue(crew) is None
    clock.now += 2
    assert overdue(crew) == "a"


def test_no_limit_nobody_at_work_and_who_must_leave_anyway(clock: Clock):
    crews = [at_work(clock, node("a", None)), Crew(Group((node("b", 1.0),))), at_work(clock, node("c", 1.0))]
    crews[2].excused = True
    clock.now += 1e6
    assert [overdue(crew) for crew in crews] == [None, None, None]


def test_the_last_line_says_memory_where_it_was_that():
    killed = last_words("Task was killed due to the node running low on memory.\n...").splitlines()
    assert killed[-1] == "out of host memory: Ray ended the worker process before the node was finished"
    assert last_words("The actor died").splitlines()[-1] == "the worker process ended before the node was finished"


def test_a_machine_that_has_gone_is_told_from_a_worker_that_has_ended():
    died = "The actor died because its node has died. Node Id: 3f. The actor's node was terminated unexpectedly"
    assert machine_gone(died)
    assert not machine_gone("Task was killed due to the node running low on memory.")
    assert not machine_gone("The actor died unexpectedly before finishing this task. Worker unexpectedly exits")


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[str]:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / "raylet"))
        listening.listen()
        yield f"unix://{tmp_path / 'raylet'}"


def test_a_head_that_does_not_answer_for_a_while_is_dead(clock: Clock, raylet: str):
    with closing(socket.create_server(("127.0.0.1", 0))) as head:
        host, port = head.getsockname()
        pulse = Pulse(f"{host}:{port}", raylet)
        clock.now += 5
        pulse.check()
    for _ in range(int(LOST_SECONDS)):
        clock.now += 1
        pulse.check()
    clock.now += 1.1
    with pytest.raises(EngineLost, match=rf"Ray's head \(127.0.0.1:{port}\) does not answer any more"):
        pulse.check()


def test_a_raylet_that_is_gone_is_noticed(clock: Clock, tmp_path: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as head:
        pulse = Pulse(f"127.0.0.1:{head.getsockname()[1]}", str(tmp_path / "gone"))
        clock.now += LOST_SECONDS + 1
        with pytest.raises(EngineLost, match=r"raylet"):
            pulse.check()
