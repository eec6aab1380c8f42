"""Packing: neither idle nor oversubscribed, and said in one line."""

from __future__ import annotations

import os
from typing import Any

import pytest

from orchestrator import resources
from orchestrator.resources import Packing, Resources, pack, usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resources, "usable_cores", lambda: 8)


@pytest.mark.parametrize(
    ("asked", "threads", "nodes", "workers", "said"),
    [
        ({}, 1, 100, 8, "8 workers x 1 thread on 8 cores; arrays off"),
        ({}, 4, 100, 2, "2 workers x 4 threads on 8 cores; arrays off"),
        ({}, 3, 100, 2, "2 workers x 3 threads on 8 cores; arrays off"),
        ({}, 16, 100, 1, "1 worker x 16 threads on 8 cores (more threads than cores: they will wait for each other)"),
        ({}, 1, 3, 3, "3 workers x 1 thread"),
        ({}, 1, 0, 1, "1 worker x 1 thread"),
        ({"jobs": 12}, 1, 100, 12, "(more threads than cores"),
        ({"inline": True}, 1, 100, 1, "1 worker x 1 thread"),
        ({"gpus": 2}, 1, 100, 2, "one GPU each of 2; arrays of a measured size"),
        ({"gpus": 1, "jobs": 4}, 1, 100, 4, "0.25 of a GPU each of 1"),
        ({"gpus": 4}, 1, 2, 2, "one GPU each of 2"),
        ({"gpus": 1, "array": "off"}, 1, 9, 1, "arrays off"),
        ({"array": 6}, 1, 9, 8, "arrays of 6"),
    ],
)
def test_packing(asked: dict[str, Any], threads: int, nodes: int, workers: int, said: str):
    packing = pack(Resources(**asked), threads, nodes)
    assert packing.workers == workers
    assert said in str(packing)
    assert ("more threads than cores" in str(packing)) == (workers * threads > 8)


def test_each_worker_has_an_equal_part_of_the_gpus():
    assert pack(Resources(gpus=2, jobs=6), 1, 100).gpus_per_worker == pytest.approx(1 / 3)
    assert pack(Resources(), 1, 100).gpus_per_worker == 0


def test_a_core_that_others_were_given_does_not_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(before)})
            assert usable_cores() == 1
        finally:
            os.sched_setaffinity(0, before)


def test_arrays_are_on_for_gpus_by_default():
    assert isinstance(pack(Resources(gpus=1), 1, 1), Packing)
    assert Resources(gpus=1).arrays.on
    assert not Resources().arrays.on
    assert Resources(array=5).arrays.slots == 5
    assert not Resources(gpus=1, array="off").arrays.on
