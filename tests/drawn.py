"""Sweeps that were really run, small ones, for the tests of figures and reports."""

from __future__ import annotations

from pathlib import Path

from orchestrator.plan import plan
from orchestrator.run import execute_plan, save_spec, write_records
from orchestrator.running.resources import Resources
from orchestrator.spec import read
from orchestrator.storage import index
from orchestrator.store import Store
from orchestrator.sweepfile.check import check

PLANE = """\
# Does a wider classifier find a better boundary?
name: plane
title: Two half-moons under random cosines
source: {paper: nobody2026, figure: 1}
stages:
  fit: {workload: tests.toys.plane, points: 60, steps: 60}
axes:
  fit.width: [5, 10, 40]
  fit.noise: [0.1, 0.3]
  seed: 2
tables:
  accuracy: {rows: fit.width, columns: fit.noise, values: [test_accuracy, norm], statistic: mean_se, paper: plane.csv}
figures:
  over_width: {x: fit.width, y: [test_accuracy, norm], lines: fit.noise, statistic: mean_se, log: x, paper: plane.csv}
  ribbon: {x: fit.width, y: test_accuracy, lines: fit.noise, statistic: mean_min_max, spread: band}
  loss: {kind: curves, y: train_loss, lines: fit.width, facets: fit.noise, log: y}
  tradeoff: {kind: scatter, x: norm, y: test_accuracy, lines: fit.noise, along: fit.width, statistic: mean_se}
  trials: {kind: scatter, x: norm, y: test_accuracy, lines: fit.width}
  spread: {kind: histogram, x: test_accuracy, bins: 5, lines: fit.noise}
  scores: {kind: histogram, x: scores, stage: fit, bins: 12, show: density, lines: fit.noise}
  counts: {kind: histogram, x: counts, edges: edges, stage: fit, facets: fit.noise}
  triangle: {kind: simplex, stage: fit, z: train_accuracy, facets: fit.width, where: {fit.noise: 0.1}}
  boundary: {kind: boundary, stage: fit, points: points, labels: labels, facets: fit.width, where: {fit.noise: 0.1}}
claims:
  wider: {says: Wider is better., metric: test_accuracy, where: {fit.noise: 0.1}, increasing: fit.width}
"""
SMALL = """\
name: small
stages:
  fit: {workload: tests.toys.plane, points: 30, steps: 5}
axes:
  seed: 2
tables:
  accuracy: {values: test_accuracy}
figures:
  triangle: {kind: simplex, stage: fit, z: train_accuracy, where: {seed: 0}}
claims:
  right: {says: It sees more than chance., metric: test_accuracy, compare: {axis: seed, high: 0, low: 1}, at_least: 0.5}
"""
PUBLISHED = """\
width,noise,metric,value,spread,statistic,n
10,0.1,test_accuracy,90%,2%,mean_std,5
40,0.1,test_accuracy,97%,1%,mean_std,5
"""
ODD = """\
name: odd
title: Walks & <odd> "levels"
stages:
  walk: {workload: tests.toys.walk, steps: 4}
axes:
  kind:
    "a, b": {}
    "μ² = $1$ & _x": {walk.steps: 5}
    "_fails": {walk.fails_at: 2}
    diverges: {walk.diverges_at: 2}
    a level with a name that is much longer than there is room for: {walk.steps: 6}
  seed: 3
tables:
  distance: {rows: kind, values: norm}
figures:
  bars: {x: kind, y: norm, title: A $dollar$ & a <tag>}
  paths: {kind: curves, y: norm, lines: kind}
  nothing: {x: kind, y: nrm}
claims:
  wide:
    says: The walk with μ² is wider, <b>really</b>.
    metric: norm
    compare: {axis: kind, high: "μ² = $1$ & _x", low: "a, b"}
    at_least: 0
"""


def run(folder: Path, text: str, limit: int | None = None) -> str:
    """Run a sweep, or its first `limit` trials, into `folder/runs` without Ray and MLflow; returns its name."""
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    (folder / "plane.csv").write_text(PUBLISHED)
    spec = read(path)
    check(spec)
    whole, part = plan(spec, folder), plan(spec, folder, limit)
    store = Store.at(folder / "runs").prepare()
    save_spec(whole, store)
    execute_plan(part, store, {}, folder, Resources(inline=True), [])
    if limit is not None:  # the records of the whole plan, as they are while it runs
        write_records(whole, store, index.known(store, whole.nodes))
    return spec.record_name
