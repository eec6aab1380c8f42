"""One group: what is committed, published and kept, when something in it fails, and what a killed one left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import context, execute
from orchestrator.context import RunContext
from orchestrator.execute import Executor
from orchestrator.planning.node import InputRef, Node
from orchestrator.running import files
from orchestrator.running.events import Event, InputDamaged, NodeDone, NodeFailed, NodeLogged, NodeStarted
from orchestrator.running.grouping import Group
from orchestrator.running.stopping import Interrupted, Leaving
from orchestrator.storage import calibration
from orchestrator.storage.writing import NotWritable
from orchestrator.store import Outcome, Store, write_atomically
from tests.toys import walk
from workloads.alone import checkpoints
from workloads.contract import Checkpoint, Ended, Hardware, Job, Result, Workload, load_workload

WALK = "tests.toys.walk"
RunArray = Callable[[Sequence[Job], Hardware], Iterator[Ended]]


def node(key: str, seed: int = 0, **config: Any) -> Node:
    return Node(key, "walk", None, WALK, config, seed, {}, key, "walks")


class Bench:
    """An executor on a store of its own, and what it published."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.at(folder).prepare()
        self.events: list[Event] = []
        self.executor = Executor(self.store, folder, "cpu", {"commit": "c0ffee"}, self.events.append)

    def run(self, *nodes: Node, slots: int | None = None, together: bool = True) -> None:
        self.executor.run(Group(nodes, together, slots))

    def of(self, kind: type[Event]) -> list[str]:
        """The keys of the events of one kind, in order."""
        return [getattr(event, "key", "") for event in self.events if isinstance(event, kind)]

    def outcome(self, key: str) -> Outcome:
        [found] = [event.outcome for event in self.events if isinstance(event, NodeDone) and event.key == key]
        return found

    def error(self, key: str) -> str:
        [found] = [event.failure for event in self.events if isinstance(event, NodeFailed) and event.key == key]
        assert self.store.failure(key) == found
        return found.error


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunArray], None]:
    """Gives the toy another `run_array`."""

    def replace_by(run_array: RunArray) -> None:
        workload: Workload = replace(load_workload(WALK), run_array=run_array)
        monkeypatch.setattr(execute, "load_workload", lambda name: workload)

    return replace_by


def bare(outcome: Outcome) -> tuple[object, ...]:
    """What must not depend on how a node ran."""
    return outcome.key, outcome.status, outcome.metrics, outcome.files


def test_in_an_array_or_in_turn_the_outcomes_are_the_same(tmp_path: Path):
    nodes = [node("a", 1), node("b", 2, fails_at=1), node("c", 3), node("d", 4, diverges_at=2)]
    together, alone = Bench(tmp_path / "together"), Bench(tmp_path / "alone")
    together.run(*nodes, slots=3)
    alone.run(*nodes, together=False)
    for key in "acd":
        assert bare(together.outcome(key)) == bare(alone.outcome(key))
        assert together.outcome(key).meta["array"] == 3
        assert "array" not in alone.outcome(key).meta
        assert together.outcome(key).meta["commit"] == "c0ffee"
    assert together.error("b") == alone.error("b") == "RuntimeError: fell at step 1"
    assert together.outcome("d").status == "diverged"
    assert together.outcome("a").seconds == 0.5, "what the array says"


def test_a_node_starts_when_it_gets_a_slot_and_is_done_before_the_next_is_asked_for(bench: Bench):
    bench.run(node("a", 1), node("b", 2), node("c", 3), slots=1)
    kinds = [(type(event), getattr(event, "key", "")) for event in bench.events if not isinstance(event, NodeLogged)]
    assert kinds == [(kind, key) for key in "abc" for kind in (NodeStarted, NodeDone)]


def test_outcomes_without_files_are_committed_at_once_in_an_array(
    bench: Bench, computing: Callable[[RunArray], None], tmp_path: Path
):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        for number, job in enumerate(jobs):
            yield Ended(job, Result({"number": number}), 0.1, 2)
            assert len(bench.of(NodeDone)) == number + 1
            assert sum(len(rows) for _, rows in bench.store.rows()) == number + 1

    computing(run_array)
    bench.run(node("a"), node("b"))
    assert bench.of(NodeDone) == bench.of(NodeStarted) == ["a", "b"], "also one that never used its context"
    assert not bench.of(NodeFailed)


def test_a_result_that_cannot_be_kept_fails_by_itself(bench: Bench, computing: Callable[[RunArray], None]):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        for job, value in zip(jobs, (1.0, "no number", 3.0), strict=True):
            yield Ended(job, Result({"value": value}), 0.1, 3)  # pyright: ignore[reportArgumentType]

    computing(run_array)
    bench.run(node("a"), node("b"), node("c"))
    assert bench.of(NodeDone) == ["a", "c"]
    assert "no number" in bench.error("b")


def test_an_error_of_the_whole_array_fails_those_that_had_not_ended(
    bench: Bench, computing: Callable[[RunArray], None]
):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        yield Ended(jobs[0], Result({"value": 1.0}), 0.1, 3)
        raise MemoryError("too large")

    computing(run_array)
    bench.run(node("a"), node("b"), node("c"))
    assert bench.of(NodeDone) == ["a"]
    assert bench.error("b") == bench.error("c") == "MemoryError: too large"


def test_a_note_on_an_error_is_not_taken_for_the_error(bench: Bench, computing: Callable[[RunArray], None]):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        error = ValueError("too small")
        error.add_note("while it was looked at")
        yield Ended(jobs[0], error, 0.1, 2)
        yield Ended(jobs[1], Result({"value": 1.0}), 0.1, 2)

    computing(run_array)
    bench.run(node("a"), node("b"))
    assert bench.error("a") == "ValueError: too small"


def test_a_job_that_an_array_forgets_has_failed(bench: Bench, computing: Callable[[RunArray], None]):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        yield Ended(jobs[0], Result({"value": 1.0}), 0.1, 2)

    computing(run_array)
    bench.run(node("a"), node("b"))
    assert bench.of(NodeDone) == ["a"]
    assert "run_array" in bench.error("b")


def test_a_job_that_ends_twice_counts_once(bench: Bench, computing: Callable[[RunArray], None]):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        yield Ended(jobs[0], Result({"value": 1.0}), 0.1, 2)
        yield Ended(jobs[0], Result({"value": 2.0}), 0.1, 2)
        yield Ended(jobs[1], Result({"value": 3.0}), 0.1, 2)

    computing(run_array)
    bench.run(node("a"), node("b"))
    assert bench.outcome("a").metrics == {"value": 1.0}
    assert "twice" in bench.error("b")


def test_an_input_that_is_gone_is_reported_and_harms_no_other_node(bench: Bench):
    lost = replace(node("b", 2), inputs={"input": InputRef("f" * 8, "end")})
    bench.run(node("a", 1), lost, node("c", 3), slots=2)
    assert sorted(bench.of(NodeDone)) == ["a", "c"]
    [event] = [event for event in bench.events if isinstance(event, InputDamaged)]
    assert (event.key, event.damaged) == ("b", "f" * 8)
    assert event.error.endswith("missing")
    assert not bench.of(NodeFailed)


def test_what_an_array_measured_is_there_for_the_next(bench: Bench, computing: Callable[[RunArray], None]):
    seen: list[dict[str, Any]] = []

    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        seen.append(dict(hardware.measured))
        hardware.measured[f"kind {len(seen)}"] = {"2": 1.5}
        yield from (Ended(job, Result({"value": 1.0}), 0.1, 1) for job in jobs)

    computing(run_array)
    for key in "abc":
        bench.run(node(key))
    assert seen == [{}, {"kind 1": {"2": 1.5}}, {"kind 1": {"2": 1.5}, "kind 2": {"2": 1.5}}]
    assert calibration.measured(bench.store).keys() == {"kind 1", "kind 2", "kind 3"}


def test_workers_that_share_a_gpu_leave_room_on_it(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Each has a context, kernels' workspace and gaps beside its tensors: shares that add up to all would not fit."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 1000))
    assert replace(bench.executor, device="cuda:0", share=0.5)._memory() == 400
    assert replace(bench.executor, device="cuda:0")._memory() is None, "all that is free"
    assert replace(bench.executor, share=0.5)._memory() is None, "of a CPU there are no shares"


class Killed(BaseException):
    """Ends a process in the middle, as far as a test can."""


def kill_at(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """A toy of which the `steps`-th step, of all walks together, never ends."""
    step, left = walk.Walk.step, iter([False] * (steps - 1) + [True])

    def one(self: walk.Walk) -> None:
        if next(left, False):
            raise Killed
        step(self)

    monkeypatch.setattr(walk.Walk, "step", one)


@pytest.mark.parametrize(("together", "left"), [(False, 1), (True, 2)])
def test_what_was_killed_goes_on_from_its_checkpoint_to_the_same_result(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool, left: int
):
    nodes = [node("a", 1, steps=6), node("b", 2, steps=6)]
    undisturbed = Bench(tmp_path / "undisturbed")
    undisturbed.run(*nodes, together=together, slots=2)
    monkeypatch.setattr(context, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(Killed):
            bench.run(*nodes, together=together, slots=2)
    assert len([*tmp_path.glob("work/*/checkpoint.safetensors")]) == left
    assert not bench.of(NodeDone)
    before = {key: len(rows) for key, rows in logged(bench).items()}
    bench.events.clear()
    bench.run(*nodes, together=together, slots=2)
    for key, steps in before.items():
        assert bare(bench.outcome(key)) == bare(undisturbed.outcome(key)), "history and all"
        assert bench.outcome(key).meta["resumed_at"] == steps
        assert logged(bench)[key] == [*range(steps + 1, 7)], "no step is made, or shown, twice"
    assert before == ({"a": 2, "b": 1} if together else {"a": 3})
    assert not [*tmp_path.glob("work/*")]


def logged(bench: Bench) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for event in bench.events:
        if isinstance(event, NodeLogged):
            found.setdefault(event.key, []).append(event.step)
    return found


def keep(bench: Bench, key: str) -> Path:
    """A checkpoint of a walk that has come to its second step."""
    folder = bench.store.work_folder(key)
    tensors = {"x": torch.full((3,), 7.0, dtype=torch.float64)}
    checkpoints.keep(folder, Checkpoint(tensors, {"at": 2}), [{"step": 1}, {"step": 2}])
    return folder / checkpoints.NAME


def test_an_outcome_says_that_its_checkpoint_began_under_another_torch(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0.0")
        keep(bench, "a")
    bench.run(node("a", 1))
    said = f"begun under torch 1.0.0, taken up under {torch.__version__}"
    assert bench.outcome("a").meta["checkpoint"] == said
    keep(bench, "b")
    bench.run(node("b", 1))
    assert "checkpoint" not in bench.outcome("b").meta


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "other": lambda content: b"\x80\x04a pickle",
    "numbers": lambda content: content.replace(b"numbers", b"nUmbers"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_none_and_the_outcome_says_so(bench: Bench, tmp_path: Path, how: str):
    undisturbed = Bench(tmp_path / "undisturbed")
    undisturbed.run(node("a", 1))
    path = keep(bench, "a")
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    bench.run(node("a", 1))
    assert bare(bench.outcome("a")) == bare(undisturbed.outcome("a"))
    assert "resumed_at" not in bench.outcome("a").meta
    assert bench.outcome("a").meta["checkpoint"] == "damaged: began afresh"
    assert "checkpoint" not in undisturbed.outcome("a").meta


def test_a_checkpoint_that_cannot_be_read_is_none(bench: Bench):
    path = keep(bench, "a")
    path.unlink()
    path.mkdir()
    bench.run(node("a", 1))
    assert bench.outcome("a").meta["checkpoint"] == "damaged: began afresh"


def test_a_checkpoint_that_cannot_be_written_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(context, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "keep", full)
    bench.run(node("a", 1))
    assert "No space left" in str(bench.outcome("a").meta["checkpoint"])


def test_checkpoints_are_asked_for_about_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(context.time, "monotonic", lambda: now)
    asked: list[float] = []

    def state() -> Checkpoint:
        asked.append(now - 1000.0)
        return Checkpoint({}, {})

    made = RunContext(0, "cpu", tmp_path, {}, lambda *_: None, {}, tmp_path / "work", lambda: None, Leaving(bool))
    made.begin()
    for _ in range(200):
        made.save(state)
        now += 1.0
    assert asked == [60.0, 120.0, 180.0]


@pytest.mark.parametrize("together", [True, False])
def test_a_row_keeps_its_checkpoint_until_it_is_committed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, together: bool
):
    """A worker that is killed between the two has lost nothing."""
    path, commit_rows = keep(bench, "a"), Store.commit_rows
    there: list[bool] = []

    def commit(store: Store, outcomes: Sequence[Outcome]) -> None:
        there.append(path.exists())
        commit_rows(store, outcomes)

    monkeypatch.setattr(Store, "commit_rows", commit)
    monkeypatch.setattr(walk.Walk, "result", lambda self: Result({"value": 1.0}))
    monkeypatch.setattr(walk.Walk, "step", lambda self: setattr(self, "at", self.at + 1))
    monkeypatch.setattr(RunContext, "restore", lambda self: None)
    bench.run(node("a"), together=together)
    assert there[0]
    assert bench.of(NodeDone) == ["a"]
    assert not path.parent.exists()


def test_a_failed_node_keeps_its_checkpoint(bench: Bench):
    path = keep(bench, "a")
    bench.run(node("a", 1, fails_at=2))
    assert bench.error("a") == "RuntimeError: fell at step 2"
    assert path.exists()
    assert json.loads((bench.store.root / "failed" / "a.json").read_text())["meta"]["resumed_at"] == 2


def test_a_calibration_that_cannot_be_written_ends_nothing(
    bench: Bench, computing: Callable[[RunArray], None], monkeypatch: pytest.MonkeyPatch
):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        hardware.measured["kind"] = {"2": 1.5}
        yield from (Ended(job, Result({"value": 1.0}), 0.1, 1) for job in jobs)

    def full(path: Path, content: str) -> None:
        if path.name == calibration.NAME:
            raise OSError(28, "No space left on device")
        write_atomically(path, content)

    computing(run_array)
    monkeypatch.setattr(calibration, "write_atomically", full)
    bench.run(node("a"))
    assert bench.of(NodeDone) == ["a"]


@pytest.mark.parametrize(("together", "slots"), [(True, 3), (True, 2), (False, 1)])
def test_what_must_leave_keeps_all_that_it_has_under_way_and_goes_on_from_there(
    tmp_path: Path, together: bool, slots: int
):
    """Asked in the middle of a step of the second of three: all that had begun are kept, none has failed."""
    nodes = [node(key, seed, steps=6) for seed, key in enumerate("abc")]
    whole, left = Bench(tmp_path / "whole"), Bench(tmp_path / "left")
    whole.run(*nodes, slots=slots, together=together)
    left.executor.asked = lambda: len(left.of(NodeLogged)) >= 5
    with pytest.raises(Interrupted):
        left.run(*nodes, slots=slots, together=together)
    kept = {key: checkpoints.kept(left.store.work_folder(key)) for key in left.of(NodeStarted)}
    assert len(kept) == (slots if together else 1)
    assert all(item is not None for item in kept.values())
    assert not left.of(NodeFailed)
    left.executor.asked = bool
    left.run(*[item for item in nodes if item.key not in left.of(NodeDone)], slots=slots, together=together)
    for key in "abc":
        assert bare(left.outcome(key)) == bare(whole.outcome(key))


def test_what_ends_in_time_is_committed_before_the_others_leave(bench: Bench, computing: Callable[[RunArray], None]):
    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        long, short, _ = jobs
        assert long.context.restore() is short.context.restore() is None
        asked.append(True)
        long.context.save(lambda: Checkpoint({}, {"at": 1}))  # the short one has no checkpoint: not yet
        yield Ended(short, Result({"value": 1.0}), 0.1, 2)
        pytest.fail("it should have left")

    asked: list[bool] = []
    bench.executor.asked = lambda: bool(asked)
    computing(run_array)
    with pytest.raises(Interrupted):
        bench.run(node("long", 1), node("short", 2), node("next", 3))
    assert bench.of(NodeDone) == ["short"]
    assert bench.of(NodeStarted) == ["long", "short"]
    assert checkpoints.kept(bench.store.work_folder("long")) is not None


def test_a_full_store_is_no_failure_of_a_node(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_arrays", full)
    with pytest.raises(NotWritable, match=r"No space left on device \(.* MB free there\); free space, and"):
        bench.run(node("a", 1), node("b", 2), together=False)
    assert not bench.of(NodeFailed)
    assert not (bench.store.root / "failed").exists()
    assert not [path for path in (bench.store.root / "nodes").rglob("*") if path.is_file()]
