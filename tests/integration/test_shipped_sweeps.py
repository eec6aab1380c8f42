"""Every sweep that is shipped can be planned at every scale, and those of one paper share their trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.plan import plan
from orchestrator.spec import read
from orchestrator.sweepfile.extending import load_extended
from tests.integration.test_sweep import REPO

SHIPPED = sorted((REPO / "sweeps").rglob("*.yaml"))
BAD_MINIMA = sorted((REPO / "sweeps" / "bad_minima").glob("*.yaml"))
SCALES = [(path, scale) for path in SHIPPED for scale in ("paper", *load_extended(path).value["scales"])]
"""Each file with every scale that it or a file below it has: a sweep inherits what it may not be able to bear."""


@pytest.mark.parametrize(
    ("path", "scale"),
    SCALES,
    ids=[f"{path.relative_to(REPO / 'sweeps').as_posix()}-{scale}" for path, scale in SCALES],
)
def test_a_shipped_sweep_is_right_at_every_scale(path: Path, scale: str, tmp_path: Path):
    made = plan(read(path, scale), tmp_path)
    assert made.trials
    published = [path.parent / name for name in made.spec.papers]
    assert all(file.is_file() for file in published)


def test_the_seven_sweeps_of_bad_minima_share_their_trainings(tmp_path: Path):
    assert len(BAD_MINIMA) == 7
    plans = {path.stem: plan(read(path), tmp_path).nodes for path in BAD_MINIMA}
    trainings = [key for nodes in plans.values() for key, node in nodes.items() if node.workload == "train"]
    assert len({*trainings}) <= len(trainings) / 1.9
    grid = plans["fig2_fig3_curves"].keys()
    for name in ("table1_distances", "fig5_norms", "fig6_fgsm", "fig4_replication", "table2_heuristics"):
        assert grid & plans[name].keys(), f"{name} shares nothing with the curves"
