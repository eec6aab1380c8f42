"""Leases: one driver a node; a dead driver's lease is void, a living one's is not."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.synchronize import Barrier
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


@pytest.mark.parametrize("where", [{"host": "another-host"}, {"machine": "another of the same name", "boot": "b"}])
def test_driver_elsewhere_is_dead_after_three_missed_beats(
    where: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = replace(Driver.this(), name="far", **where)
    now = time.monotonic()
    with Leases(store, driver=elsewhere) as far, Leases(store) as near:
        assert far.claim("ab")
        assert not near.claim("ab")
        monkeypatch.setattr(leases_module.time, "monotonic", lambda: now + 2 * leases_module.BEAT)
        assert not near.claim("ab")
        monkeypatch.setattr(leases_module.time, "monotonic", lambda: now + 4 * leases_module.BEAT)
        assert near.claim("ab")


def _race(root: str, together: Barrier, queue: multiprocessing.Queue) -> None:
    leases = Leases(Store.at(root)).__enter__()
    together.wait()
    queue.put([key for key in (f"{n:02x}" for n in range(200)) if leases.claim(key)])
    together.wait()  # alive until all have tried: what a dead one holds is void


def test_racing_drivers_share_the_nodes_without_overlap(store: Store):
    context = multiprocessing.get_context("spawn")
    queue, together = context.Queue(), context.Barrier(3, timeout=100)
    racers = [context.Process(target=_race, args=(str(store.root), together, queue)) for _ in range(3)]
    for racer in racers:
        racer.start()
    won = [key for _ in racers for key in queue.get(timeout=100)]
    for racer in racers:
        racer.join()
    assert len(won) == len(set(won)) == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_name_can_ask_for_a_stop():
    """As in a container that runs under a number that its passwd does not have."""
    code = "import os; from orchestrator.storage.leases import user_here; os.setuid(54321); print(user_here())"
    nameless = {
        name: value for name, value in os.environ.items() if name not in ("LOGNAME", "USER", "LNAME", "USERNAME")
    }
    said = subprocess.run([sys.executable, "-c", code], env=nameless, capture_output=True, text=True, check=True).stdout
    assert said.startswith("user 54321 on ")
