"""Several sweeps planned together: what they share is there once, and costs once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.plan import Plan
from orchestrator.planning.node import Node
from orchestrator.planning.outlook import learnt, outlook
from orchestrator.planning.together import together, together_text
from orchestrator.running.resources import Resources
from orchestrator.storage import index
from orchestrator.store import Store
from tests.unit.orchestrator.test_forecast import NOOP, TRAIN, finished, planned


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store").prepare()


@pytest.fixture
def both(tmp_path: Path) -> list[Plan]:
    """Seeds 0 and 1, and seeds 1 and 2: in each 2 of both trainings, and 4 measures."""
    return [planned(tmp_path, TRAIN, SEEDS="0, 1"), planned(tmp_path, TRAIN, SEEDS="1, 2")]


def nodes_of(plan: Plan, stage: str) -> list[Node]:
    return [node for node in plan.nodes.values() if node.stage == stage]


def test_a_node_of_two_sweeps_counts_once(both: list[Plan], store: Store):
    shown = together(both, store, Resources())
    assert shown["workloads"] == {
        "train": {"apart": 8, "nodes": 6, "shared": 2, "to_do": 6},
        "measure": {"apart": 8, "nodes": 6, "shared": 2, "to_do": 6},
    }


@pytest.mark.parametrize("resources", [Resources(), Resources(gpus=1)])
def test_and_costs_once(both: list[Plan], store: Store, resources: Resources):
    unit = "gpu_hours" if resources.gpus else "cpu_hours"
    held = index.look(store, both[0].nodes)
    first = outlook(both[0], held, learnt(store, held), resources)[0]["forecast"][unit]
    assert first > 0
    whole = together(both, store, resources)["forecast"][unit]
    assert whole == pytest.approx(1.5 * first), "three seeds, where each sweep has two"


def test_what_is_done_is_not_to_do(both: list[Plan], store: Store):
    done = [finished(node, 2.0) for node in nodes_of(both[0], "measure")]
    store.commit_rows(done)
    shown = together(both, store, Resources())["workloads"]
    assert shown["measure"]["to_do"] == 2
    assert shown["train"]["to_do"] == 2, "those of seed 2; nothing needs the others any more"


def test_work_that_nobody_can_tell_is_said(tmp_path: Path, store: Store):
    text = together_text(together([planned(tmp_path, TRAIN), planned(tmp_path, NOOP)], store, Resources()))
    assert "together: 2 sweeps" in text
    assert "and that of nodes of which nothing is known" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_command_prints_it_for_several_sweeps_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    paths = []
    for name, seeds in (("one", "0, 1"), ("two", "1, 2")):
        paths.append(tmp_path / f"{name}.yaml")
        text = TRAIN.replace("LR", "0.1").replace("STOP", "epochs: 4").replace("SEEDS", seeds)
        paths[-1].write_text(text.replace("name: costs", f"name: {name}"))
    store = ["--store", str(tmp_path / "store")]
    assert main(["plan", str(paths[0]), *store]) == 0
    assert "together" not in capsys.readouterr().out
    assert main(["plan", *map(str, paths), *store]) == 0
    assert "train          8       6       2       6" in capsys.readouterr().out
    assert main(["plan", *map(str, paths), *store, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in shown["sweeps"]] == shown["together"]["sweeps"] == ["one", "two"]
