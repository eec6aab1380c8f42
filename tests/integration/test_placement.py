"""Several machines with GPUs, as Ray sees them: who shares a GPU, who is placed where. `make test-slow`.

The GPUs are Ray's word for it: nothing computes on them, but Ray hands them out as it does real ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.frontier import Frontier
from orchestrator.plan import plan
from orchestrator.run import save_spec
from orchestrator.running.grouping import Arrays
from orchestrator.running.resources import Packing, Resources
from orchestrator.running.stopping import Stopping
from orchestrator.storage.leases import Leases
from orchestrator.store import Store
from orchestrator.sweepfile.check import read_checked
from tests.faults.test_clusters import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

WHERE = """
name: where
stages:
  where: {workload: tests.toys.where, sleep: SLEEP}
axes:
  where.x: [1, 2, 3, 4]
  seed: 6
tables:
  values: {rows: [where.x], values: [gpu]}
"""
TRIALS = 24


class Machines(Cluster):
    """Machines with CPUs, GPUs and labels of one's choice."""

    def add(self, cpus: int, gpus: int = 0, **labels: str) -> int:
        """One more; its number as `tests.toys.where` says it."""
        node: Any = self.made.add_node(
            num_cpus=cpus, num_gpus=gpus, labels=labels, object_store_memory=100 * 2**20, wait=True
        )
        return int(node.node_id[:12], 16)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    monkeypatch.setenv("SWEEP_CHECKPOINT_SECONDS", "0.2")
    with closing(Machines()) as made:
        yield made


def run(machines: Machines, folder: Path, packing: Packing, sleep: float, **resources: Any) -> list[dict[str, float]]:
    """The metrics of 24 trials, run by Ray through the frontier; the workers compute on CPUs, whatever they hold."""
    from orchestrator.schedule import schedule

    path = folder / "where.yaml"
    path.write_text(WHERE.replace("SLEEP", str(sleep)))
    made, store = plan(read_checked(path, None, {}), folder), Store.at(folder / "store").prepare()
    save_spec(made, store)
    with Stopping() as stopping, Leases(store) as leases:
        frontier = Frontier(made, {}, leases, packing.workers, arrays=packing.arrays)
        asked = Resources(address=machines.address, **resources)
        schedule(frontier, store, folder, asked, packing, stopping)
    assert not frontier.failures
    assert len(frontier.done) == TRIALS
    return [dict(outcome.metrics) for outcome in frontier.done.values()]


def test_trials_share_gpus_in_parts_and_none_has_parts_of_two(machines: Machines, tmp_path: Path):
    first, second = machines.add(8, 2), machines.add(8, 2)
    found = run(machines, tmp_path, Packing(8, 1, 16, 4, Arrays()), sleep=2.0)
    assert {item["gpus"] for item in found} == {1}
    places = defaultdict(list)
    for item in found:
        places[item["machine"], item["gpu"]].append(item)
    assert {machine for machine, _ in places} == {first, second}
    for sharing in places.values():
        for item in sharing:
            others = {other["process"] for other in sharing if other["began"] < item["ended"] <= other["ended"]}
            assert len(others | {item["process"]}) <= 2, "two halves"
    assert max(Counter(item["process"] for item in found).values()) > 1, "workers stay warm"
    assert any(len({item["process"] for item in sharing}) > 1 for sharing in places.values()), "they do share"


def test_a_trial_waits_for_one_machine_that_holds_all_of_it(machines: Machines, tmp_path: Path):
    """Two CPUs are free, on two machines; a trial of two threads runs on the third alone."""
    for _ in range(2):
        machines.add(1)
    large = machines.add(2)
    found = run(machines, tmp_path, Packing(2, 2, 4, 0, Arrays()), sleep=0.0)
    assert {item["machine"] for item in found} == {large}


def test_only_machines_with_the_label_are_used(machines: Machines, tmp_path: Path):
    machines.add(2, kind="small")
    chosen = machines.add(2, kind="large", room="3")
    machines.add(2)
    labels = (("kind", "large"), ("room", "3"))
    found = run(machines, tmp_path, Packing(2, 1, 6, 0, Arrays()), sleep=0.0, labels=labels)
    assert {item["machine"] for item in found} == {chosen}
