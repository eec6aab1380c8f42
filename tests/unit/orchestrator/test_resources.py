"""Packing: neither idle nor oversubscribed, and said in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.running import resources
from orchestrator.running.resources import Packing, Resources, cgroup_limits, pack, usable_cores


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
        ({"gpus": 1, "jobs": 4}, 1, 100, 4, "1/4 of a GPU each of 1"),
        ({"gpus": 2, "jobs": 3}, 1, 100, 3, "1/2 of a GPU each of 2"),
        ({"gpus": 4}, 1, 2, 2, "one GPU each of 2"),
        ({"gpus": 1, "array": "off"}, 1, 9, 1, "arrays off"),
        ({"array": 6}, 1, 9, 8, "arrays of 6"),
        ({"address": "head:6379"}, 1, 100, 8, "8 workers x 1 thread on 8 cores"),
    ],
)
def test_packing(asked: dict[str, Any], threads: int, nodes: int, workers: int, said: str):
    packing = pack(Resources(**asked), threads, nodes)
    assert packing.workers == workers
    assert said in str(packing)
    assert ("more threads than cores" in str(packing)) == (workers * threads > 8)


def test_a_cluster_is_packed_by_its_own_cores_and_no_worker_straddles_machines():
    cluster = Resources(address="head:6379", cores=(2.0, 7.0, 16.0))
    assert str(pack(cluster, 1, 100)).startswith("25 workers x 1 thread on 25 cores;")
    assert str(pack(cluster, 4, 100)).startswith("5 workers x 4 threads on 25 cores;")
    assert pack(Resources(address="head:6379", cores=(2.0, 7.0), jobs=3), 1, 100).workers == 3


@pytest.mark.parametrize("gpus", [1, 2, 3, 8])
@pytest.mark.parametrize("jobs", range(1, 25))
def test_all_workers_find_a_place_on_the_gpus(gpus: int, jobs: int):
    """As Ray counts: in ten-thousandths, and never on two GPUs at once."""
    packing = pack(Resources(gpus=gpus, jobs=jobs, array="off"), 1, 100)
    part = round(packing.gpus_per_worker * 10_000)
    assert part / 10_000 == packing.gpus_per_worker
    assert packing.gpus * (10_000 // part) >= packing.workers == jobs
    assert packing.gpus == min(gpus, jobs)
    assert part * packing.workers_per_gpu > 10_000 - packing.workers_per_gpu, "nothing is left over"


def test_without_gpus_a_worker_has_none():
    assert pack(Resources(), 1, 100).gpus_per_worker == pack(Resources(), 1, 100).workers_per_gpu == 0


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


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, []),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, [2.0]),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "50000 100000\n"}, [0.5, 2.0]),
        ("0::/of/the/host\n", {"cpu.max": "300000 100000\n"}, [3.0]),
        (
            "4:memory:/\n3:cpu,cpuacct:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "1e\n"},
            [],
        ),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, [2.5]),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ("5:memory:/\n", {"cpu.max": "100000 100000\n"}, []),
        (None, {}, []),
    ],
)
def test_limits_of_control_groups(tmp_path: Path, own: str | None, files: dict[str, str], limits: list[float]):
    if own is not None:
        (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    assert [*cgroup_limits(tmp_path / "own", tmp_path / "root")] == limits


def test_a_part_of_a_core_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    for limit, cores in ((0.5, 1), (1.9, 1)):
        monkeypatch.setattr(resources, "cgroup_limits", lambda limit=limit: iter([64.0, limit]))
        assert usable_cores() == cores


def test_arrays_are_on_for_gpus_by_default():
    assert isinstance(pack(Resources(gpus=1), 1, 1), Packing)
    assert Resources(gpus=1).arrays.on
    assert not Resources().arrays.on
    assert Resources(array=5).arrays.slots == 5
    assert not Resources(gpus=1, array="off").arrays.on
