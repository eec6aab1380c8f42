"""Sharing on the example of the design: fewer nodes, and the same table as when every trial is run by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import record
from orchestrator.plan import Plan, plan
from orchestrator.run import execute_plan
from orchestrator.running.resources import Resources
from orchestrator.spec import read
from orchestrator.store import Store
from tests.integration.test_sweep import REPO, sweep

SPEC = REPO / "sweeps" / "bad_minima" / "table2_heuristics.yaml"


@pytest.mark.parametrize(("scale", "nodes", "uses"), [(None, 5, 40), ("smoke", 2, 8)])
def test_adversarial_starts_are_planned_once_a_seed(tmp_path: Path, scale: str | None, nodes: int, uses: int):
    options = ["--scale", scale] if scale else []
    planned = sweep("plan", SPEC, "--store", tmp_path, "--json", *options)
    corrupt = json.loads(planned.stdout)["stages"]["corrupt"]
    assert {name: corrupt[name] for name in ("nodes", "uses", "done")} == {"nodes": nodes, "uses": uses, "done": 0}


def test_the_table_is_that_of_every_trial_alone_in_an_empty_store(tmp_path: Path):
    made = plan(read(SPEC, "smoke"), tmp_path)
    together = measured(made, tmp_path / "together")
    assert len(together) == len(made.trials) == 16
    for index, trial in enumerate(made.trials):
        alone = replace(made, trials=(trial,), nodes={key: made.nodes[key] for key in trial.nodes.values()})
        assert measured(alone, tmp_path / f"alone-{index}") == [together[index]]


def measured(made: Plan, folder: Path) -> list[dict[str, object]]:
    """Every row after a run, without what tells where and when it ran."""
    store = Store.at(folder).prepare()
    summary = execute_plan(made, store, {}, folder, Resources(inline=True), [])
    assert summary.complete
    rows = record.read(store.records_folder(made.spec.record_name)).to_pylist()
    return [{name: value for name, value in row.items() if not name.startswith("meta.")} for row in rows]
