"""Figures: their numbers are those of the tables, what is left out is said, equal records give equal bytes."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from orchestrator import record, tables
from orchestrator.commands.request import saved_spec
from orchestrator.errors import NotFound, SweepError
from orchestrator.figures.chart import Bars, Chart, Plane, Series, Surface
from orchestrator.figures.charts import chart
from orchestrator.figures.files import FORMATS, inline, render
from orchestrator.figures.source import Source
from orchestrator.figures.spec import Boundary, Histogram, Lines, Simplex
from orchestrator.figures.style import DARK, PALETTE, drawing
from orchestrator.spec import SweepSpec
from orchestrator.store import Store
from tests.drawn import ODD, PLANE, run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with both sweeps."""
    folder = tmp_path_factory.mktemp("drawn")
    run(folder, PLANE)
    run(folder, ODD)
    return folder


def opened(folder: Path, name: str) -> tuple[SweepSpec, Source]:
    store = Store.at(folder / "runs")
    records = record.read(store.records_folder(name))
    return saved_spec(store, name), Source(records, store, name, store.sweep_folder(name))


def contents(made: Chart) -> list[Series | Bars | Surface | Plane]:
    return [item for row in made.panels for panel in row for item in panel.content.values()]


def test_lines_have_the_numbers_of_the_table(folder: Path) -> None:
    spec, source = opened(folder, "plane")
    made = chart(spec.figures["over_width"], source)
    table = tables.table(spec.tables["accuracy"], source.records, source.folder)
    assert made.lines == ("noise = 0.1", "noise = 0.3")
    for panel, metric, factor in zip(made.panels[0], ("test_accuracy", "norm"), (100, 1), strict=True):
        for line, noise in enumerate((0.1, 0.3)):
            series = panel.content[line]
            assert isinstance(series, Series)
            column = table.header.index(((noise,), metric))
            for mark, row in zip(series.marks, table.cells, strict=True):
                cell = row[column]
                assert cell.mean is not None
                assert cell.spread is not None
                assert mark.y == pytest.approx(factor * cell.mean)
                assert (mark.low, mark.high) == pytest.approx(
                    (factor * (cell.mean - cell.spread), factor * (cell.mean + cell.spread))
                )
                assert (mark.n, mark.lost) == (2, 0)


def test_published_points_stand_at_their_levels(folder: Path) -> None:
    spec, source = opened(folder, "plane")
    made = chart(spec.figures["over_width"], source)
    first = made.panels[0][0].content
    found = {line: item.published for line, item in first.items() if isinstance(item, Series)}
    numbers = [number for mark in found[0] for number in (mark.x, mark.y, mark.low, mark.high)]
    assert numbers == pytest.approx([10, 90, 88, 92, 40, 97, 96, 98])
    assert found[1] == ()


def test_a_node_that_several_trials_share_is_one_curve(tmp_path: Path) -> None:
    text = """\
name: shared
stages:
  walk: {workload: tests.toys.walk, steps: 3}
axes:
  colour: {red: {}, green: {}}
  seed: 2
figures:
  paths: {kind: curves, y: norm}
"""
    spec, source = opened(tmp_path, run(tmp_path, text))
    made = chart(spec.figures["paths"], source)
    (series,) = contents(made)
    assert isinstance(series, Series)
    assert {mark.n for mark in series.marks} == {2}
    assert made.notes == ("Band: mean ± sample standard deviation, n = 2.",)


def test_what_is_left_out_is_said(folder: Path) -> None:
    spec, source = opened(folder, "odd")
    made = chart(spec.figures["bars"], source)
    assert "Left out: 3 failed, 3 diverged of 15 trials." in made.notes
    nothing = chart(spec.figures["nothing"], source)
    assert "No trial reports nrm; allowed: norm, worst; did you mean 'norm'?" in nothing.notes
    for form in FORMATS:
        assert render(nothing, form)


def test_a_sweep_that_is_not_whole_is_marked(tmp_path: Path) -> None:
    spec, source = opened(tmp_path, run(tmp_path, PLANE, limit=5))
    for name in ("ribbon", "loss", "tradeoff", "scores"):
        made = chart(spec.figures[name], source)
        assert made.notes[0] == "PARTIAL: 7 of 12 trials are missing."
        assert b"PARTIAL" in render(made, "svg")


def test_marks_of_fewer_values_are_hollow(folder: Path) -> None:
    _, source = opened(folder, "plane")
    records = source.records
    for name, value in (("metric.norm", None), ("status", "failed")):
        values = [value, *records[name].to_pylist()[1:]]
        records = records.set_column(records.column_names.index(name), name, [values])
    less = replace(source, records=records)
    made = chart(Lines(name="one", x="fit.width", y=("norm",), lines=("fit.noise",)), less)
    marks = [mark for item in contents(made) if isinstance(item, Series) for mark in item.marks]
    assert sorted(mark.n for mark in marks) == [1, 2, 2, 2, 2, 2]
    assert sum(mark.lost for mark in marks) == 1
    assert "Hollow marks: of fewer values than there are trials." in made.notes


def test_histograms_count_every_value_once(folder: Path) -> None:
    spec, source = opened(folder, "plane")
    bars = [item for item in contents(chart(spec.figures["spread"], source)) if isinstance(item, Bars)]
    assert sum(sum(item.heights) for item in bars) == 12
    assert len({item.edges for item in bars}) == 1
    density = [item for item in contents(chart(spec.figures["scores"], source)) if isinstance(item, Bars)]
    for item in density:
        assert numpy.dot(item.heights, numpy.diff(item.edges)) == pytest.approx(1)
    counts = [item for item in contents(chart(spec.figures["counts"], source)) if isinstance(item, Bars)]
    assert all(len(item.edges) == len(item.heights) + 1 for item in counts)


def test_fields_are_the_arrays_of_the_nodes(folder: Path) -> None:
    spec, source = opened(folder, "plane")
    surfaces = [item for item in contents(chart(spec.figures["triangle"], source)) if isinstance(item, Surface)]
    assert len(surfaces) == 3
    assert surfaces[0].weights.shape == (231, 3)
    planes = [item for item in contents(chart(spec.figures["boundary"], source)) if isinstance(item, Plane)]
    with numpy.load(source.store.node_folder(source.column("meta.node.fit")[0]) / "arrays.npz") as arrays:
        assert numpy.array_equal(planes[0].z, arrays["z"])


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (
            Boundary(name="f", kind="boundary", stage="fitt"),
            "f: the records have no stage 'fitt'; allowed: fit",
        ),
        (Boundary(name="f", kind="boundary", stage="fit", z="zz"), "has no array 'zz'; allowed:"),
        (Boundary(name="f", kind="boundary", stage="fit", x="scores"), "z (h, w); they are (60,), (63,) and (63, 93)"),
        (Simplex(name="f", kind="simplex", stage="fit", z="x"), "x of shape (n,); they are (231, 3) and (93,)"),
        (Simplex(name="f", kind="simplex", stage="fit", weights=("points",), z="scores"), "they are (60, 2) and (60,)"),
        (Simplex(name="f", kind="simplex", weights=("fit.width", "seed", "fit.noise"), z="norm"), "do not sum to 1"),
        (Histogram(name="f", kind="histogram", x="counts", edges="x", stage="fit"), "shapes are (24,) and (93,)"),
        (Lines(name="f", x="walk", y=("norm",)), "figures.f: the records have no axis 'walk'; allowed: fit.width"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder: Path, figure: Lines, message: str) -> None:
    _, source = opened(folder, "plane")
    with pytest.raises(NotFound) as caught:
        chart(figure, source)
    assert message in str(caught.value)


def test_a_surface_of_axes(tmp_path: Path) -> None:
    text = """\
name: weights
stages:
  walk: {workload: tests.toys.walk, steps: 2}
axes:
  first: {0: {}, 0.5: {walk.steps: 3}, 1: {walk.steps: 4}}
  second: {0: {}, 0.5: {}, 1: {}}
exclude: [{first: 0.5, second: 1}, {first: 1, second: [0.5, 1]}]
figures:
  surface: {kind: simplex, weights: [first, second], z: norm, corners: [a, b, c]}
"""
    spec, source = opened(tmp_path, run(tmp_path, text))
    (surface,) = contents(chart(spec.figures["surface"], source))
    assert isinstance(surface, Surface)
    assert surface.weights.tolist() == [[0, 0, 1], [0, 0.5, 0.5], [0, 1, 0], [0.5, 0, 0.5], [0.5, 0.5, 0], [1, 0, 0]]
    assert render(chart(spec.figures["surface"], source), "png")


DIGESTS = """
import hashlib, sys
from pathlib import Path
from tests.unit.orchestrator.test_figures import opened
from orchestrator.figures.charts import chart
from orchestrator.figures.files import FORMATS, render
spec, source = opened(Path(sys.argv[1]), "plane")
for name in ("over_width", "triangle"):
    for form in FORMATS:
        print(name, form, hashlib.sha256(render(chart(spec.figures[name], source), form)).hexdigest())
"""


def test_equal_records_give_equal_bytes_whatever_the_user_has_set(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 30\nsvg.hashsalt: mine\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", DIGESTS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    spec, source = opened(folder, "plane")
    for line in done.stdout.splitlines():
        name, form, digest = line.split()
        assert hashlib.sha256(render(chart(spec.figures[name], source), form)).hexdigest() == digest
    assert len(done.stdout.splitlines()) == 6


def test_matplotlib_loads_only_to_draw() -> None:
    code = "import sys, orchestrator.cli, orchestrator.spec, orchestrator.figures.charts, orchestrator.report.build, "
    code += "orchestrator.figures.series, orchestrator.figures.fields; print('matplotlib' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_no_file_has_a_date(folder: Path) -> None:
    spec, source = opened(folder, "plane")
    made = chart(spec.figures["ribbon"], source)
    for form in FORMATS:
        assert b"Date" not in render(made, form)
    with pytest.raises(SweepError, match="format 'gif'; allowed: svg, pdf, png"):
        render(made, "gif")


@pytest.mark.parametrize("sweep", ["plane", "odd"])
def test_nothing_is_cut_and_no_labels_collide(folder: Path, sweep: str) -> None:
    """Every text lies inside the figure, and tick labels, legend, title and notes do not overlap."""
    from orchestrator.figures.draw import draw

    spec, source = opened(folder, sweep)
    for name, figure in spec.figures.items():
        with drawing():
            made = draw(chart(figure, source))
            made.draw_without_rendering()
            renderer = made.canvas.get_renderer()  # pyright: ignore[reportAttributeAccessIssue]
            width, height = made.get_size_inches() * made.dpi
            around = [*made.texts, *made.legends]
            ticks = [
                [tick.label1 for tick in side.get_major_ticks() if _in_view(tick.get_loc(), side)]
                for axes in made.axes
                if axes.axison
                for side in (axes.xaxis, axes.yaxis)
            ]
            labels = [axis.label for axes in made.axes if axes.axison for axis in (axes.xaxis, axes.yaxis)]
            shown = [
                item for item in [*around, *itertools.chain(*ticks), *labels] if item.get_window_extent().width > 1
            ]
            for item in shown:
                box = item.get_window_extent(renderer)
                assert box.x0 > -1, (name, item)
                assert box.y0 > -1, (name, item)
                assert box.x1 < width + 1, (name, item)
                assert box.y1 < height + 1, (name, item)
            for group in [around, *ticks]:
                if any(getattr(item, "get_rotation", lambda: 0)() not in (0, 90) for item in group):
                    continue  # turned labels: their boxes overlap, their letters do not
                boxes = [item.get_window_extent(renderer) for item in group if item in shown]
                assert not [pair for pair in itertools.combinations(boxes, 2) if _overlap(*pair)], name


def _in_view(place: float, axis: Any) -> bool:
    low, high = sorted(axis.get_view_interval())
    return low <= place <= high


def _overlap(one: object, other: object) -> bool:
    a, b = numpy.array(one), numpy.array(other)
    return bool((a[0] + 0.5 < b[1] - 0.5).all() and (b[0] + 0.5 < a[1] - 0.5).all())


def test_odd_names_are_drawn_as_they_are(folder: Path) -> None:
    spec, source = opened(folder, "odd")
    text = render(chart(spec.figures["bars"], source), "svg").decode()
    assert "A $dollar$ &amp; a &lt;tag&gt;" in text
    assert "μ² = $1$ &amp; _x" in text
    assert "_fails" in render(chart(spec.figures["paths"], source), "svg").decode()


def test_an_inline_figure_says_what_it_is_and_has_the_colours_of_the_page(folder: Path) -> None:
    spec, source = opened(folder, "plane")
    text = inline(chart(spec.figures["over_width"], source), "figure-a", "Accuracy")
    assert text.startswith("<svg ")
    assert '<title id="figure-a-title">Accuracy</title>' in text
    assert "lines: noise = 0.1, noise = 0.3." in text
    assert "metadata" not in text
    assert not [colour for colour in DARK if colour.lower() in text.lower()]
    assert 'id="figure-a-' in text
    assert 'id="axes_1"' not in text


LINEAR = numpy.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
SEEN_BY = {  # Machado, Oliveira and Fernandes 2009, severity 1
    "all": numpy.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(colour: str) -> numpy.ndarray:
    share = numpy.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return numpy.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(light: numpy.ndarray) -> numpy.ndarray:
    xyz = LINEAR @ numpy.clip(light, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("dark", [False, True])
def test_the_colours_are_told_apart(eyes: str, dark: bool) -> None:
    """CIE76 distance of at least 10 between all pairs, and contrast with the page of at least 3."""
    palette = [DARK[colour] for colour in PALETTE] if dark else PALETTE
    seen = [lab(numpy.array(SEEN_BY[eyes]) @ linear(colour)) for colour in palette]
    assert min(float(numpy.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 10
    page = float(LINEAR[1] @ linear(DARK["#FFFFFF"] if dark else "#FFFFFF"))
    for colour in palette:
        light = sorted([page, float(LINEAR[1] @ linear(colour))])
        assert (light[1] + 0.05) / (light[0] + 0.05) > 3
