# ruff: noqa: E501  (a case a line)
"""What a sweep file says about figures: what is right is read, what is wrong is said with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.figures.spec import KINDS, Boundary, Curves, Histogram, Lines, Scatter, Simplex
from orchestrator.spec import SweepSpec, read
from orchestrator.sweepfile.check import check

HEAD = """\
name: one
stages:
  fit: {workload: tests.toys.noop}
axes:
  start: {random: {}, adversarial: {}}
  fit.x: [1, 2, 3]
  seed: 3
figures:
"""


def make(folder: Path, figures: str) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(HEAD + figures)
    (folder / "paper.csv").write_text("metric,value\n")
    return read(path)


def test_every_kind_is_read(tmp_path: Path) -> None:
    spec = make(
        tmp_path,
        """\
  a: {x: fit.x, y: loss, lines: start, where: {seed: [0, 1]}, log: x, paper: paper.csv, spread: band, statistic: mean_min_max}
  b: {kind: curves, y: [loss, accuracy], stage: fit, facets: [start, fit.x], log: [y]}
  c: {kind: scatter, x: loss, y: norm, along: fit.x, lines: start, statistic: mean_se}
  d: {kind: histogram, x: loss, bins: 7, show: density}
  e: {kind: simplex, stage: fit, z: accuracy, corners: [p, q, r]}
  f: {kind: simplex, weights: [start, fit.x], z: accuracy}
  g: {kind: boundary, stage: fit, points: at, labels: class, where: {seed: 0}}
""",
    )
    assert [type(figure) for figure in spec.figures.values()] == [
        Lines,
        Curves,
        Scatter,
        Histogram,
        Simplex,
        Simplex,
        Boundary,
    ]
    first = spec.figures["a"]
    assert isinstance(first, Lines)
    assert (first.y, first.lines, first.log, first.where) == (("loss",), ("start",), ("x",), {"seed": (0, 1)})
    assert spec.papers == ("paper.csv",)
    assert set(KINDS) == {"lines", "curves", "scatter", "histogram", "simplex", "boundary"}


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("{kind: line, x: fit.x, y: loss}", "figures.f.kind: unknown kind 'line'; allowed: lines, curves, scatter, histogram, simplex, boundary; did you mean 'lines'?"),
        ("{kind: [lines], x: fit.x, y: loss}", "figures.f.kind: unknown kind ['lines']; allowed: lines, curves,"),
        ("{x: fit.y, y: loss}", "figures.f.x: no axis 'fit.y'; allowed: start, fit.x, seed; did you mean 'fit.x'?"),
        ("{x: fit.x, y: loss, lines: [stat]}", "figures.f.lines: no axis 'stat'; allowed: start, fit.x, seed; did you mean 'start'?"),
        ("{x: fit.x, y: loss, facets: fit.x}", "figures.f.facets: axis 'fit.x' stands in x already"),
        ("{x: fit.x}", "figures.f.y: missing; it is required"),
        ("{x: fit.x, y: []}", "figures.f.y: a figure needs at least one metric"),
        ("{x: fit.x, y: loss, colour: red}", "figures.f.colour: unknown field; allowed: title, facets, where, x_label, y_label, kind, x, y, lines, statistic, spread, log, paper"),
        ("{x: fit.x, y: loss, name: b}", "figures.f.name: unknown field; the name is the key above"),
        ("{x: fit.x, y: loss, statistic: mean_sd}", "figures.f.statistic: unknown statistic 'mean_sd'; allowed: mean_std, mean_se, mean_min_max, median_iqr, mean_ci; did you mean 'mean_std'?"),
        ("{x: fit.x, y: loss, spread: bar}", "figures.f.spread: unknown spread 'bar'; allowed: bars, band, none; did you mean 'bars'?"),
        ("{x: fit.x, y: loss, log: z}", "unknown log 'z'; allowed: x, y"),
        ("{x: fit.x, y: loss, where: {start: rnd}}", "figures.f.where.start: the text 'rnd' is no level of axis start; allowed: random, adversarial"),
        ("{x: fit.x, y: loss, paper: other.csv}", "figures.f.paper: no such file: other.csv (looked beside sweep.yaml)"),
        ("{x: fit.x, y: loss, paper: ../other.csv}", "must be a file beside this one, written as a relative path without '..'"),
        ("{kind: histogram, x: loss, bins: 0}", "figures.f.bins: must be greater than 0, got the number 0"),
        ("{kind: histogram, x: loss, edges: e}", "figures.f.edges: names an array: `stage` must say whose"),
        ("{kind: scatter, x: loss, y: norm, along: fit}", "figures.f.along: no axis 'fit'; allowed: start, fit.x, seed"),
        ("{kind: simplex, z: loss}", "figures.f.weights: without a stage it is two or three axes; `stage` says whose array"),
        ("{kind: simplex, z: loss, weights: [start, fit.z]}", "figures.f.weights: no axis 'fit.z'; allowed: start, fit.x, seed; did you mean 'fit.x'?"),
        ("{kind: simplex, z: loss, stage: fit, weights: [a, b]}", "figures.f.weights: with a stage it is the name of one array of shape (n, 3)"),
        ("{kind: simplex, z: loss, stage: fit, corners: [a, b]}", "figures.f.corners: a triangle has 3 corners; got 2"),
        ("{kind: boundary}", "figures.f.stage: missing; it is required"),
        ("3", "figures.f: expected a mapping, got the number 3"),
    ],
)  # fmt: skip
def test_each_mistake_is_said_with_its_place(tmp_path: Path, figure: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make(tmp_path, f"  f: {figure}\n")
    said = str(caught.value).replace(f"{tmp_path}/", "")
    assert message in said
    assert said.startswith("sweep.yaml:9:")


def test_mistakes_of_several_figures_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        make(tmp_path, "  a: {x: fit.y, y: loss}\n  b: {kind: pie}\n")
    assert len(str(caught.value).splitlines()) == 2


def test_the_sweep_of_the_page_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "figures.md").read_text(encoding="utf-8")
    (tmp_path / "page.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    spec = read(tmp_path / "page.yaml")
    check(spec)
    assert len(spec.figures) == 4
