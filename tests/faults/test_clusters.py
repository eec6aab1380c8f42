"""Several Ray nodes on this machine: one is lost, another joins; a head or a raylet that dies altogether."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.frontier import ATTEMPTS
from tests.faults.processes import Driver, assert_undisturbed, finish, gone, outcomes, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]


class Cluster:
    """A Ray head and nodes, each with processes of its own."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        self.made = RayCluster(initialize_head=True, head_node_args=self._arguments(0))
        self.address = str(self.made.address)

    def _arguments(self, cpus: int) -> dict[str, Any]:
        return {"num_cpus": cpus, "object_store_memory": 100 * 2**20, "include_dashboard": False}

    def join(self) -> Any:
        """One node more, with one CPU."""
        arguments = self._arguments(1)
        del arguments["include_dashboard"]
        return self.made.add_node(**arguments)

    def lose(self, node: Any) -> None:
        """All processes of a node at once, as if its power had gone."""
        for found in list(node.all_processes.values()):
            for process in found:
                family = [process.process.pid, *children(process.process.pid)]
                for pid in family:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        with suppress(Exception):
            self.made.shutdown()


def children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("SWEEP_CHECKPOINT_SECONDS", "0.2")  # workers have the environment of their node
    with closing(Cluster()) as made:
        yield made


def test_a_node_is_lost_and_another_joins(long_nets: Path, tmp_path: Path, undisturbed_long: Path, cluster: Cluster):
    store = tmp_path / "store"
    first = cluster.join()
    cluster.join()
    with Driver(long_nets, store, "--address", cluster.address, "--jobs", "2") as driver:
        driver.until("node_logged", step=5)
        cluster.lose(first)
        cluster.join()
        code, said = driver.end()
    assert code == 0, said
    assert_undisturbed(store, undisturbed_long)


def test_all_nodes_that_compute_are_lost_and_another_joins(
    long_nets: Path, tmp_path: Path, undisturbed_long: Path, cluster: Cluster
):
    store = tmp_path / "store"
    only = cluster.join()
    with Driver(long_nets, store, "--address", cluster.address, "--jobs", "1") as driver:
        driver.until("node_logged", step=5)
        cluster.lose(only)
        time.sleep(5)
        assert driver.process.poll() is None, "it waits for a node"
        cluster.join()
        code, said = driver.end()
    assert code == 0, said
    assert_undisturbed(store, undisturbed_long)
    assert max(item["meta"].get("resumed_at", 0) for item in outcomes(store)) > 0


@pytest.mark.slow
def test_machines_that_go_again_and_again_fail_no_trial(
    nets: Path, tmp_path: Path, undisturbed: Path, cluster: Cluster
):
    """More often than a trial may lose its worker: to lose the machine is no attempt."""
    store = tmp_path / "store"
    node = cluster.join()
    with Driver(nets, store, "--address", cluster.address, "--jobs", "1") as driver:
        for _ in range(ATTEMPTS + 1):
            key = driver.until("node_started")["key"]
            checkpoint = store / "work" / key
            wait_for(lambda: [*checkpoint.glob("*.safetensors")] or driver.process.poll() is not None)  # noqa: B023
            cluster.lose(node)
            node = cluster.join()
        code, said = driver.end()
    assert code == 0, said
    assert_undisturbed(store, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["gcs_server", "raylet"])
def test_a_ray_that_dies_ends_the_run_with_words(long_nets: Path, tmp_path: Path, undisturbed_long: Path, which: str):
    """The embedded one: the driver must not wait for it for ever."""
    store = tmp_path / "store"
    with Driver(long_nets, store, "--jobs", "1") as driver:
        driver.until("node_logged", step=5)
        family = psutil.Process(driver.process.pid).children(recursive=True)
        [process] = [child for child in family if child.name().startswith(which[:15])]
        process.kill()
        assert driver.seconds_to_end() < 30
        code, said = driver.end()
    assert code == 1, said
    assert "does not answer any more" in said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    wait_for(lambda: all(gone(child.pid) for child in family if "writer" not in " ".join(command(child))), "their end")
    finish(long_nets, store)
    assert_undisturbed(store, undisturbed_long)


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_head_elsewhere_that_dies_ends_the_run_with_words(
    long_nets: Path, tmp_path: Path, undisturbed_long: Path, cluster: Cluster
):
    store = tmp_path / "store"
    cluster.join()
    with Driver(long_nets, store, "--address", cluster.address, "--jobs", "1") as driver:
        driver.until("node_logged", step=5)
        cluster.lose(cluster.made.head_node)
        assert driver.seconds_to_end() < 30
        code, said = driver.end()
    assert code == 1, said
    assert "does not answer any more" in said
    finish(long_nets, store)
    assert_undisturbed(store, undisturbed_long)
