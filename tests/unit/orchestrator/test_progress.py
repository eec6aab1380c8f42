"""What a run's progress is and how it looks: in a pseudo-terminal, in a pipe, as JSON."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import struct
import termios
from fcntl import ioctl
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.plan import Plan, PlannedTrial
from orchestrator.planning.node import Node
from orchestrator.progress import Progress
from orchestrator.running.events import Event, NodeDone, NodeFailed, NodeLogged, NodeSkipped, NodeStarted
from orchestrator.space import Trial
from orchestrator.store import Failure, Outcome
from orchestrator.terminal.live import frame
from orchestrator.terminal.tally import Left, Tally
from orchestrator.terminal.wording import progress_line

T = 1000.0


def a_plan() -> Plan:
    """Two seeds, each with one `fit` that two `go_on` share."""
    nodes: dict[str, Node] = {}
    trials = []
    for seed in (0, 1):
        for rate in (0.1, 0.2):
            fit, go_on = f"fit{seed}", f"go{seed}{rate}"
            nodes.setdefault(fit, Node(fit, "fit", None, "toy", {}, seed, {}, fit))
            nodes[go_on] = Node(go_on, "go_on", None, "toy", {}, seed, {}, go_on)
            levels = {"go_on.rate": rate, "seed": seed}
            trials.append(
                PlannedTrial(Trial(levels, {}, seed), f"t{seed}{rate}", {"fit": fit, "go_on": go_on}, ("go_on",))
            )
    return Plan(SimpleNamespace(record_name="demo", stages={}), tuple(trials), nodes)  # pyright: ignore[reportArgumentType]


def done(key: str, seconds: float = 10.0, time: float = T) -> NodeDone:
    return NodeDone(key, Outcome(key, "toy", "done", {"loss": 0.5}, {}, 0, None, seconds, {}, {}), time)


def failed(key: str, time: float = T) -> NodeFailed:
    return NodeFailed(key, Failure(key, "ValueError: no", "Traceback ...", {}), time)


def tally(*events: Event, needed: set[str] | None = None) -> Tally:
    plan = a_plan()
    made = Tally(plan, plan.nodes if needed is None else needed, T)
    for event in events:
        made.take(event)
    return made


def test_every_node_is_in_exactly_one_state() -> None:
    made = tally(
        NodeStarted("fit0", T, "w"),
        NodeStarted("fit1", T, "w"),
        failed("fit0"),
        NodeSkipped("go00.1", "fit0", T),
        NodeSkipped("go00.2", "fit0", T),
    )
    assert (made.running.keys(), made.failed.keys(), made.skipped) == ({"fit1"}, {"fit0"}, {"go00.1", "go00.2"})
    assert (made.waiting, made.trials_done, made.trials) == (2, 0, 4)
    assert made.last_error == "fit seed=0: ValueError: no"


def test_trials_count_when_all_their_targets_are_done() -> None:
    made = tally(done("go00.1"), done("go00.1"), needed={"go00.1", "go00.2"})
    assert made.trials_done == 3, "two were done before, one is now"
    assert made.reused == 4
    assert made.waiting == 1
    assert made.executed == 0, "another driver computed it"


def test_a_lost_worker_that_starts_again_is_counted_once() -> None:
    made = tally(
        NodeStarted("fit0", T, "w"), NodeStarted("fit0", T + 1, "v"), NodeStarted("fit1", T, "w"), done("fit0")
    )
    assert (made.executed, len(made.done), len(made.running), made.waiting) == (1, 1, 1, 4)


def test_time_left_is_the_work_left_at_the_pace_so_far() -> None:
    made = tally()
    assert made.left(T) is None
    for key in ("fit0", "fit1"):
        made.take(NodeStarted(key, T, "w"))
        made.take(done(key, 10.0))
    left = made.left(T + 10)
    assert left is not None
    assert left.at_least, "nothing is known of go_on yet"
    for key in ("go00.1", "go00.2"):
        made.take(NodeStarted(key, T + 10, "w"))
        made.take(done(key, 20.0))
    # Two at a time: 60 s of work took 30 s, so the 40 s that are left take 20 s.
    assert made.left(T + 30) == Left(20.0, 0.0, False)


def test_a_forecast_that_has_proved_wrong_is_not_counted_down_to_nothing() -> None:
    made = tally()
    made.expected = Left(30.0, 10.0, False)
    assert made.left(T + 10) == Left(20.0, 10.0, False)
    assert made.left(T + 30) is None


def test_latest_values_and_labels_of_what_runs() -> None:
    made = tally(NodeStarted("go00.1", T, "w"), NodeLogged("go00.1", 3, {"loss": 0.5}, T))
    made.take(NodeLogged("go00.1", 4, {"loss": 0.25}, T))
    running = made.running["go00.1"]
    assert (running.label, running.step, running.values) == ("go_on rate=0.1 seed=0", 4, {"loss": 0.25})


def lines(made: Tally, width: int, height: int = 24) -> list[str]:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width, height=height, color_system=None).print(
        frame("demo", made, T + 75, width, height)
    )
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_frame_fits_the_window(width: int) -> None:
    made = tally(NodeStarted("fit0", T, "w"), NodeLogged("fit0", 12, {"train_loss": 0.123, "train_accuracy": 0.95}, T))
    made.take(failed("fit1"))
    shown = lines(made, width)
    assert all(len(line) <= width for line in shown)
    assert len(shown) == 6, "nothing wraps"
    if width == 80:
        assert shown[0] == "demo  1:15 min"
        assert shown[2] == "nodes   0 done, 1 failed, 1 running, 4 waiting"
        assert shown[4] == "        fit seed=0  step 12  train_loss 0.123  train_accuracy 0.95"
        assert shown[5] == "error   fit seed=1: ValueError: no"


def test_an_array_is_one_line_with_what_its_networks_have_in_common() -> None:
    made = tally(*[NodeStarted(key, T, "host:1") for key in ("go00.1", "go00.2")], NodeStarted("fit1", T, "host:2"))
    made.take(NodeLogged("go00.1", 3, {"loss": 0.5, "accuracy": 0.75}, T))
    made.take(NodeLogged("go00.2", 4, {"loss": 0.25, "accuracy": 0.75}, T))
    made.take(NodeLogged("fit1", 9, {"loss": float("nan")}, T))
    assert lines(made, 100)[4:] == [
        "        2 x go_on seed=0  step 3..4  loss 0.25..0.5  accuracy 0.75",
        "        fit seed=1  step 9  loss nan",
    ]
    made.take(done("go00.1"))
    assert lines(made, 100)[4] == "        go_on rate=0.2 seed=0  step 4  loss 0.25  accuracy 0.75", "the last of it"


def test_a_frame_is_no_higher_than_the_window() -> None:
    made = tally(*[NodeStarted(key, T, f"host:{key}") for key in a_plan().nodes])
    shown = lines(made, 80, height=8)
    assert len(shown) <= 8
    assert shown[-1].strip() == "and 5 more"


def test_plain_lines_have_no_escapes_and_name_the_first_failure() -> None:
    stream = io.StringIO()
    with Progress(a_plan(), a_plan().nodes, stream) as progress:
        for event in (NodeStarted("fit0", T, "w"), failed("fit0"), NodeStarted("fit1", T, "w"), failed("fit1")):
            progress(event)
    shown = stream.getvalue().splitlines()
    assert shown[0] == "demo: 4 trials; 6 of 6 nodes to run"
    assert shown[1] == "demo: failed: fit seed=0: ValueError: no"
    assert shown[2].startswith("demo: 0 of 4 trials; nodes: 0 done, 2 failed, 4 waiting; ")
    assert len(shown) == 3
    assert "\x1b" not in stream.getvalue()


def test_a_plain_line_says_how_long_is_left() -> None:
    made = tally(NodeStarted("fit0", T, "w"), done("fit0"), NodeStarted("go00.1", T, "w"), done("go00.1"))
    assert progress_line("demo", made, T + 20) == ("demo: 1 of 4 trials; nodes: 2 done, 4 waiting; 20 s; ~40 s left")


def test_nothing_is_said_of_the_time_left_while_nobody_knows_it() -> None:
    made = tally(NodeStarted("fit0", T, "w"))
    assert "left" not in progress_line("demo", made, T + 5)
    made.expected = Left(60.0, None, False)
    assert progress_line("demo", made, T + 5).endswith("; 5 s; ~55 s left")
    assert progress_line("demo", made, T + 59.9).endswith("; 1:00 min"), "~0 s left would be a lie"
    assert progress_line("demo", made, T + 600).endswith("; 10:00 min")
    made.take(done("fit0", 10.0))
    made.take(NodeStarted("fit1", T, "w"))
    made.take(NodeStarted("go00.1", T, "w"))
    for key in ("go00.1", "go00.2", "go10.1", "go10.2"):
        made.take(done(key, 10.0))
    assert progress_line("demo", made, T + 600).endswith("1 running; 10:00 min"), "it takes longer than the others did"


def test_json_lines_are_strict_json() -> None:
    stream = io.StringIO()
    with Progress(a_plan(), a_plan().nodes, stream, "json") as progress:
        progress(NodeStarted("fit0", T, "w"))
        progress(NodeLogged("fit0", 1, {"loss": float("nan")}, T))
        progress(done("fit0"))
        progress(failed("fit1"))
        progress(NodeSkipped("go10.1", "fit1", T))
    shown = [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]
    names = "sweep_started node_started node_logged node_done node_failed node_skipped sweep_ended"
    assert [item["event"] for item in shown] == names.split()
    assert shown[2]["values"] == {"loss": "nan"}
    assert shown[3]["metrics"] == {"loss": 0.5}
    assert shown[4]["node"] == "fit seed=1"


def test_quiet_and_a_reader_that_has_gone(tmp_path: Path) -> None:
    stream = io.StringIO()
    with Progress(a_plan(), a_plan().nodes, stream, "quiet") as progress:
        progress(failed("fit0"))
    assert stream.getvalue() == ""
    reader, writer = os.pipe()
    os.close(reader)
    pipe = open(writer, "w", buffering=1)  # noqa: SIM115 - closing it fails, as it should
    with Progress(a_plan(), a_plan().nodes, pipe, "json") as progress:
        progress(failed("fit0"))
    with pytest.raises(BrokenPipeError):
        pipe.close()


def read_all(terminal: int) -> str:
    """All that was written to a pseudo-terminal whose other end is closed."""
    content = b""
    try:
        while more := os.read(terminal, 1 << 16):
            content += more
    except OSError:  # how Linux says that there is no more
        pass
    finally:
        os.close(terminal)
    return content.decode()


@pytest.mark.parametrize("width", [40, 80])
def test_in_a_terminal_the_view_is_drawn_in_place(width: int) -> None:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with open(slave, "w", buffering=1, encoding="utf-8") as screen, Progress(a_plan(), a_plan().nodes, screen) as view:
        view(NodeStarted("fit0", T, "w"))
        view(NodeLogged("fit0", 7, {"train_loss": 0.25}, T))
        view(done("fit0"))
        view(failed("fit1"))
        for key in ("go00.1", "go00.2"):
            view(done(key))
        for key in ("go10.1", "go10.2"):
            view(NodeSkipped(key, "fit1", T))
    shown = read_all(master)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor is there again"
    frames = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n")
    assert "2/4" in frames
    assert "error   fit seed=1: ValueError: no" in frames
    assert all(len(line) <= width for line in frames.splitlines())
