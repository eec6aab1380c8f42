"""The diary of nodes: what a log says, and that steps which are told again count once."""

from __future__ import annotations

from orchestrator.running.events import NodeFailed, NodeLogged, NodeStarted
from orchestrator.store import Failure, Outcome
from orchestrator.to_mlflow.diary import Diary

T = 1_700_000_000.0


def test_steps_that_are_told_again_count_once() -> None:
    diary = Diary()
    diary.started(NodeStarted("a", T, "host:1"))
    assert [diary.fresh(NodeLogged("a", step, {"loss": 1.0}, T)) for step in (1, 2)] == [{"loss": 1.0}] * 2
    assert diary.fresh(NodeLogged("a", 2, {"rate": 2.0}, T)) == {"rate": 2.0}
    diary.started(NodeStarted("a", T + 9, "host:2"))
    told = [diary.fresh(NodeLogged("a", step, {"loss": 1.0, "rate": 2.0}, T)) for step in (1, 2, 3)]
    assert told == [{}, {}, {"loss": 1.0, "rate": 2.0}]


def test_the_log_of_a_run_tells_what_became_of_its_nodes() -> None:
    diary = Diary()
    diary.started(NodeStarted("a", T, "host:1"))
    diary.fresh(NodeLogged("a", 7, {"loss": 1.0}, T))
    diary.ended(NodeFailed("a", Failure("a", "ValueError: no", "Traceback\n  here", {}), T + 5))
    meta = {"finished": T + 9, "host": "h", "device": "cpu", "resumed_at": 3, "array": 4}
    done = Outcome("b", "toy", "done", {"loss": 0.5}, {}, 0, None, 1.5, meta, {})
    text = diary.text({"fit": "a", "go_on": "b", "unknown": "c"}, {"b": done})
    assert text.splitlines() == [
        "fit (a)",
        "  2023-11-14T22:13:20Z started by host:1",
        "  2023-11-14T22:13:25Z logged loss up to step 7",
        "  2023-11-14T22:13:25Z failed: ValueError: no",
        "Traceback",
        "  here",
        "go_on (b)",
        "  went on from a checkpoint after 3 rows of its history",
        "  2023-11-14T22:13:29Z done after 1.5 s on h cpu, in an array of 4",
        "  loss=0.5",
    ]
    assert diary.text({"unknown": "c"}, {}) == ""
