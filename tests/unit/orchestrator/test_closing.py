"""What is on the screen when a run has ended: the words, and the last picture of the live view."""

from __future__ import annotations

import os
import pty
import struct
import termios
from collections.abc import Callable
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path

import pyte
import pytest

from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.progress import Progress
from orchestrator.run import Summary
from orchestrator.running.events import NodeDone, NodeFailed, NodeLogged, NodeStarted
from orchestrator.spec import read
from orchestrator.storage import index
from orchestrator.store import Failure, Store
from orchestrator.terminal.closing import closing
from orchestrator.terminal.tally import Tally
from tests.drawn import SMALL, run

T = 1000.0
WIDTH = 80


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """A sweep of two trials that was run."""
    folder = tmp_path_factory.mktemp("closing")
    run(folder, SMALL)
    return make_plan(read(folder / "sweep.yaml"), folder), Store.at(folder / "runs")


def ended(plan: Plan, store: Store, seconds: float = 0.0, device: str = "cpu") -> Tally:
    """Of a run that computed all nodes, each in so many seconds."""
    tally = Tally(plan, plan.nodes, T)
    for key, outcome in index.known(store, plan.nodes).items():
        tally.take(NodeStarted(key, T, "host:1"))
        where = {**outcome.meta, "device": device}
        tally.take(NodeDone(key, replace(outcome, seconds=seconds, meta=where), T + seconds))
    return tally


WHOLE = Summary(2, 1, {"done": 2}, {}, {}, report=Path("/there/index.html"), page="http://mlflow/#/experiments/7")


def test_it_says_what_ran_what_came_out_and_where_it_lies(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    text = closing(plan, store, WHOLE, ended(plan, store, 1800.0, "cuda:0"), T + 3725)
    paragraphs = text.split("\n\n")
    assert paragraphs[0] == ("small: 2 nodes executed, 1 reused; 2 trials: 2 done\nwall time 1:02 h; 1 GPU-hours")
    assert paragraphs[1].startswith("accuracy. Mean")
    assert "test_accuracy" in paragraphs[2], "the table"
    assert "right: It sees more than chance." in text, "the claim"
    assert paragraphs[-1].splitlines() == [
        f"Records   {store.root}/records/small/trials.parquet",
        f"Table     sweep table small --store {store.root} --format latex",
        "Report    /there/index.html",
        f"Log       {store.root}/sweeps/small/run.log",
        "MLflow    http://mlflow/#/experiments/7",
    ]


def test_it_says_what_is_left_to_do(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    summary = replace(WHOLE, report=None, unmade="not made of 9000 trials (more than 5000)", page="", unsent=12)
    lines = closing(plan, store, summary, ended(plan, store), T + 1).splitlines()
    where = f" --store {store.root}"
    assert lines[-5:] == [
        f"Report    sweep report small{where}",
        f"          not made of 9000 trials (more than 5000); sweep sync{where} shows in MLflow what is made later",
        f"Log       {store.root}/sweeps/small/run.log",
        f"MLflow    sweep ui{where} (prints its address)",
        f"MLflow has not got 12 operations yet: sweep sync{where}",
    ]
    assert lines[1] == "wall time 1 s", "no hours of nothing"


def test_a_store_in_its_usual_place_needs_no_option(
    finished: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = finished
    monkeypatch.chdir(store.root.parent)
    assert "--store" not in closing(plan, store, replace(WHOLE, page=""), ended(plan, store), T)


def test_failures_are_counted_by_kind_with_a_command_for_one_of_each(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    tally = Tally(plan, plan.nodes, T)
    first, second = plan.nodes
    tally.take(NodeFailed(first, Failure(first, "ValueError: no", "", {}), T))
    tally.take(NodeFailed(second, Failure(second, "OSError: never", "", {}), T))
    errors = {"fit: ValueError: no": 1, "fit: OSError: never": 3, **{f"fit: kind {number}": 1 for number in range(5)}}
    text = closing(plan, store, replace(WHOLE, statuses={"failed": 2}, errors=errors), tally, T)
    lines = text.split("\n\n")[1].splitlines()
    assert lines[0] == "What failed (run again to try once more):"
    assert lines[1] == "  3 x fit: OSError: never", "the most frequent first"
    assert lines[2].split() == ["sweep", "run", *lines[2].split()[2:]]
    assert f"--only {second[:10]} --inline --debug" in lines[2]
    assert lines[3] == "  1 x fit: ValueError: no"
    assert f"--only {first[:10]}" in lines[4]
    assert lines[-2:] == ["  and 2 more kinds", f"  tracebacks: sweep logs small --store {store.root} --trial KEY"]


def screen_after(use: Callable[[Progress], None], plan: Plan, height: int = 24) -> tuple[list[str], str]:
    """What a terminal shows, and was sent, when a live view that was used so has closed and a line followed."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, WIDTH, 0, 0))
    with open(slave, "w", buffering=1, encoding="utf-8") as stream:
        try:
            with Progress(plan, plan.nodes, stream) as progress:
                use(progress)
        except KeyboardInterrupt:
            pass
        stream.write("what follows\n")
    sent = b""
    try:
        while piece := os.read(master, 1 << 16):
            sent += piece
    except OSError:  # how Linux says that there is no more
        os.close(master)
    screen = pyte.Screen(WIDTH, height)
    pyte.ByteStream(screen).feed(sent)
    return [line.rstrip() for line in screen.display if line.strip()], sent.decode()


def test_the_view_closes_with_one_whole_picture_of_the_end(finished: tuple[Plan, Store]) -> None:
    plan, store = finished

    def use(progress: Progress) -> None:
        for key, outcome in index.known(store, plan.nodes).items():
            progress(NodeStarted(key, T, "host:1"))
            progress(NodeLogged(key, 3, {"loss": 0.5}, T))
            progress(NodeDone(key, outcome, T))

    shown, sent = screen_after(use, plan)
    assert shown[0].startswith("small  ")
    assert shown[1].endswith(" 2/2")
    assert shown[2] == "nodes   2 done"
    assert "left" not in shown[3]
    assert shown[4:] == ["what follows"], "nothing is left of the nodes that ran"
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1, "the cursor is there again"


def test_the_view_closes_whole_when_it_is_interrupted(finished: tuple[Plan, Store]) -> None:
    plan, _ = finished
    first, second = plan.nodes

    def use(progress: Progress) -> None:
        progress(NodeStarted(first, T, "host:1"))
        progress(NodeFailed(second, Failure(second, "ValueError: no", "", {}), T))
        raise KeyboardInterrupt

    shown, sent = screen_after(use, plan)
    assert sum(line.startswith("nodes   ") for line in shown) == 1
    assert shown[-1] == "what follows"
    assert shown[-2].startswith("error   fit seed=")
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1


def test_a_view_of_a_low_window_closes_without_going_over_its_edge(finished: tuple[Plan, Store]) -> None:
    plan, _ = finished

    def use(progress: Progress) -> None:
        for key in plan.nodes:
            progress(NodeStarted(key, T, "host:1"))

    shown, _ = screen_after(use, plan, height=7)
    assert sum(line.startswith("trials  ") for line in shown) == 1
    assert shown[-1] == "what follows"
