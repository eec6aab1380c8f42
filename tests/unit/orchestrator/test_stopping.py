"""How a run is asked to stop: by real signals, by another process through the store; and what leaves when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.running import stopping as stopping_module
from orchestrator.running.inline import _Alarm
from orchestrator.running.stopping import GRACE, Interrupted, Leaving, Stopping
from orchestrator.storage.leases import Driver, Leases
from orchestrator.store import Store


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_heard_and_the_handlers_are_given_back(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    heard: list[int | None] = []
    with Stopping() as stopping:
        stopping.told = lambda: heard.append(stopping.number)
        assert (stopping.number, stopping.overdue()) == (None, False)
        os.kill(os.getpid(), number)
        assert heard == [stopping.number] == [number]
        assert not stopping.overdue()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert Interrupted(number).exit_code == 128 + number


def test_signals_are_heard_again_after_a_library_took_them() -> None:
    with Stopping() as stopping:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stopping.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.number == signal.SIGTERM


def test_it_is_overdue_after_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = Stopping()
    stopping.ask("ann on laptop")
    asked = stopping.since
    for seconds, more, over in (
        (GRACE - 0.1, 0.0, False),
        (GRACE, 0.0, True),
        (GRACE, 1.0, False),
        (GRACE + 1, 1, True),
    ):
        monkeypatch.setattr(stopping_module.time, "monotonic", lambda now=asked + seconds: now)
        assert stopping.overdue(more) == over


TWICE = """
import os, signal, sys, time
from orchestrator.running.stopping import Stopping
with Stopping() as stopping:
    {first}
    print("heard", stopping.number, flush=True)
    stopping.ask("somebody")  # changes nothing
    print("goes on", repr(stopping.why), flush=True)
    os.kill(os.getpid(), signal.{second})
    time.sleep(60)
print("never said")
"""


@pytest.mark.parametrize(
    ("first", "second", "said", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", "SIGINT", ["heard 15", "goes on ''"], 130),
        ("stopping.ask('ann')", "SIGTERM", ["heard 15", "goes on 'asked by ann (sweep stop)'"], 143),
    ],
    ids=["after a signal", "after a request"],
)
def test_a_signal_once_more_leaves_at_once(first: str, second: str, said: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE.format(first=first, second=second)], capture_output=True, text=True, timeout=100
    )
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (said, "", code)


def test_a_request_through_the_store_reaches_the_driver_that_is_meant(tmp_path: Path) -> None:
    store = Store.at(tmp_path).prepare()
    asked, other = Stopping(), Stopping()
    with (
        Leases(store, replace(Driver.this("one"), name="a"), stop=asked.ask) as mine,
        Leases(store, replace(Driver.this("two"), name="b"), stop=other.ask),
    ):
        visitor = Leases(store)
        assert {driver.sweep for driver in visitor.drivers()} == {"one", "two"}
        visitor.ask_to_stop(mine.driver)
        wait_for(lambda: asked.number is not None)
        visitor.ask_to_stop(mine.driver)  # a second time: it is stopping already, and is not to leave at once
        time.sleep(1.5)  # longer than it takes to look
        assert asked.number == signal.SIGTERM
        assert asked.why.startswith("asked by ")
        assert os.uname().nodename in asked.why
        assert other.number is None
    assert not [*(tmp_path / "work" / "drivers").iterdir()], "the request is gone with the driver"


def test_a_request_is_heard_from_a_thread_that_no_signal_reaches() -> None:
    with Stopping() as stopping:
        told = threading.Event()
        stopping.told = told.set
        thread = threading.Thread(target=stopping.ask, args=("ann",))
        thread.start()
        thread.join()
        assert told.is_set()
        assert stopping.number == signal.SIGTERM


def test_what_is_under_way_leaves_when_all_of_it_is_kept() -> None:
    asked = False
    leaving = Leaving(lambda: asked)
    for node in ("a", "b", "c"):
        leaving.begin(node)
        leaving.kept(node)  # nobody asked: it only has been saved
    for node in ("a", "b"):
        leaving.begin(node)
    asked = True
    assert not leaving.ready, "two have begun anew and would lose something"
    leaving.kept("a")
    leaving.begin("d")  # of an array that starts its members one after the other
    leaving.end("b")
    assert not leaving.ready
    with pytest.raises(Interrupted):
        leaving.kept("d")
    with pytest.raises(Interrupted):
        leaving.begin("e")


def test_nothing_begins_where_nothing_is_under_way_and_all_are_to_leave() -> None:
    leaving = Leaving(lambda: True)
    with pytest.raises(Interrupted):
        leaving.begin("a")


def test_an_import_is_not_cut_off_by_the_end_of_the_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off, it may leave Python's lock on imports held: the driver then waited for its records' thread for ever."""
    (tmp_path / "slowly_imported.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGALRM)\ntime.sleep(0.2)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    stopping = Stopping()
    stopping.number, stopping.since = signal.SIGTERM, time.monotonic() - 2 * GRACE
    with _Alarm(SimpleNamespace(), stopping):  # pyright: ignore[reportArgumentType]
        try:
            import slowly_imported  # pyright: ignore[reportMissingImports]
        except Interrupted:
            pytest.fail("it was cut off")
        assert slowly_imported.whole
        with pytest.raises(Interrupted):
            time.sleep(5)
