"""Leases: one driver a node; a dead driver's lease is void, a living one's is not."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.storage import leases as leases_module
from orchestrator.storage.leases import Driver, Leases
from orchestrator.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path).prepare()


def test_second_driver_does_not_get_a_leased_node(store: Store):
    with Leases(store) as first, Leases(store) as second:
        assert first.claim("ab")
        assert not second.claim("ab")
        first.release("ab")
        assert second.claim("ab")


def test_a_killed_driver_leaves_nothing_behind_once_another_came(store: Store):
    dead = replace(Driver.this(), name="dead", started="1.0")
    Leases(store, driver=dead).__enter__().claim("ab")
    with Leases(store) as alive:
        assert alive.claim("ab")
        assert [path.stem for path in (store.root / "work" / "drivers").glob("*.json")] == [alive.driver.name]
    assert [*(store.root / "work" / "drivers").iterdir()] == []


def test_what_came_when_a_driver_had_signed_off_makes_no_driver_of_it(store: Store):
    """A beat that took long on its way, a request to stop that crossed with the end."""
    with Leases(store) as first:
        pass
    first._beat(7)
    first.ask_to_stop(first.driver)
    assert len([*(store.root / "work" / "drivers").iterdir()]) == 2
    with Leases(store) as second:
        assert second.alone()
        assert {path.stem for path in (store.root / "work" / "drivers").iterdir()} == {second.driver.name}


def test_a_lease_taken_over_is_not_given_back_by_its_first_holder(store: Store):
    stranger = replace(Driver.this(), name="old", started="1.0")
    with Leases(store) as new:
        with Leases(store, driver=stranger) as old:
            assert old.claim("ab")
            assert new.claim("ab")
        with Leases(store) as third:
            assert not third.claim("ab")


def test_leases_are_given_back_at_the_end(store: Store):
    with Leases(store) as first:
        first.claim("ab")
    with Leases(store) as second:
        assert second.claim("ab")


def test_lease_of_a_killed_process_is_void_at_once(store: Store):
    script = (
        "import os, signal; from orchestrator.storage.leases import Leases; from orchestrator.store import Store\n"
        f"leases = Leases(Store.at({str(store.root)!r})).__enter__()\n"
        "assert leases.claim('ab'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert killed.returncode == -9
    with Leases(store) as second:
        assert second.claim("ab")


def test_reused_pid_is_not_the_old_driver(store: Store):
    stranger = replace(Driver.this(), name="old", started="1.0")
    with Leases(store, driver=stranger) as old:
        assert old.claim("ab")
        with Leases(store) as new:
            assert new.claim("ab")


def test_driver_elsewhere_is_dead_after_three_missed_beats(store: Store, monkeypatch: pytest.MonkeyPatch):
    elsewhere = replace(Driver.this(), name="far", host="another-host")
    now = time.monotonic()
    with Leases(store, driver=elsewhere) as far, Leases(store) as near:
        assert far.claim("ab")
        assert not near.claim("ab")
        monkeypatch.setattr(leases_module.time, "monotonic", lambda: now + 2 * leases_module.BEAT)
        assert not near.claim("ab")
        monkeypatch.setattr(leases_module.time, "monotonic", lambda: now + 4 * leases_module.BEAT)
        assert near.claim("ab")


def _race(root: str, start: float, queue: multiprocessing.Queue) -> None:
    leases = Leases(Store.at(root)).__enter__()
    while time.time() < start:
        pass
    queue.put([key for key in (f"{n:02x}" for n in range(200)) if leases.claim(key)])
    time.sleep(0.5)  # alive until all have tried


def test_racing_drivers_share_the_nodes_without_overlap(store: Store):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    racers = [context.Process(target=_race, args=(str(store.root), time.time() + 2, queue)) for _ in range(3)]
    for racer in racers:
        racer.start()
    won = [key for _ in racers for key in queue.get(timeout=30)]
    for racer in racers:
        racer.join()
    assert len(won) == len(set(won)) == 200
