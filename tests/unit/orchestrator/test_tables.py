"""Tables from records: what is averaged, what is left out and said, and the published values beside ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from orchestrator.errors import NotFound, SpecError
from orchestrator.findings.layout import lay_out
from orchestrator.findings.notation import plus_minus, with_bounds
from orchestrator.findings.render import FORMATS, render
from orchestrator.spec import TableSpec
from orchestrator.sweepfile.check import read_checked
from orchestrator.tables import Table, table, to_arrow

FOLDER = Path("/nowhere")


def records(rows: Sequence[dict[str, Any]]) -> pyarrow.Table:
    return pyarrow.Table.from_pylist([{"status": "done", **row} for row in rows])


def trial(start: Any, seed: int, loss: float | None, status: str = "done", **axes: Any) -> dict[str, Any]:
    levels = {f"axis.{name}": level for name, level in {"start": start, **axes, "seed": seed}.items()}
    return {**levels, "metric.loss": loss, "status": status}


def spec(**changes: Any) -> TableSpec:
    fields: dict[str, Any] = {"name": "one", "rows": ("start",), "columns": (), "values": ("loss",)}
    defaults = {"statistic": "mean_std", "paper": None, "title": None}
    return TableSpec(**{**fields, **defaults, **changes})


THREE = [trial("b", seed, value) for seed, value in enumerate([1.0, 2.0, 3.0])]


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("mean_std", (2, 1, None, None)),
        ("mean_se", (2, 1 / math.sqrt(3), None, None)),
        ("mean_ci", (2, 2.4841377118, -0.4841377118, 4.4841377118)),
        ("mean_min_max", (2, None, 1, 3)),
        ("median_iqr", (2, None, 1.5, 2.5)),
    ],
)
def test_statistics_of_a_cell(statistic: str, expected: tuple[float | None, ...]) -> None:
    cell = table(spec(statistic=statistic), records(THREE), FOLDER).cells[0][0]
    for found, wanted in zip((cell.mean, cell.spread, cell.low, cell.high), expected, strict=True):
        assert found == (None if wanted is None else pytest.approx(wanted))
    assert (cell.n, cell.trials, cell.remark) == (3, 3, "")


def test_one_seed_has_no_spread() -> None:
    cell = table(spec(), records(THREE[:1]), FOLDER).cells[0][0]
    assert (cell.mean, cell.spread, cell.n) == (1, None, 1)
    assert "single values, n=1" in lay_out(table(spec(), records(THREE[:1]), FOLDER)).caption.lower()


def test_what_is_not_there_is_counted_and_never_averaged() -> None:
    rows = [
        trial("a", 0, 1.0),
        trial("a", 1, None, "missing"),
        trial("a", 2, None, "failed"),
        trial("a", 3, None, "skipped"),
        trial("a", 4, 9.0, "diverged"),
        trial("a", 5, math.nan),
        trial("a", 6, 3.0, "failed"),  # another of its measures failed: this value stands
    ]
    made = table(spec(), records(rows), FOLDER)
    cell = made.cells[0][0]
    assert (cell.mean, cell.n) == (2, 2)
    assert cell.remark == "1 missing, 2 failed, 1 diverged, 1 not finite of 7 trials"
    grid = lay_out(made)
    assert grid.body[0][0] == ("2.0 ± 1.4", "†")
    assert grid.notes == (("†", cell.remark), ("", "PARTIAL: 1 of 7 trials are missing."))


def test_all_missing() -> None:
    grid = lay_out(table(spec(), records([trial("a", 0, None, "missing")]), FOLDER))
    assert grid.body == ((("–", "†"),),)


def test_no_trials_at_all() -> None:
    empty = records(THREE).slice(0, 0)
    made = table(spec(), empty, FOLDER)
    assert (made.cells, made.notes) == ((), ("The sweep has no trials.",))
    for format in FORMATS:
        assert "The sweep has no trials." in render(made, format) or format == "csv"


def test_levels_come_in_the_order_of_the_records_and_holes_stay_empty() -> None:
    rows = [trial("b", 0, 1.0, width=64), trial("a", 0, 2.0, width=8), trial("a", 0, 3.0, width=64)]
    made = table(spec(columns=("width",)), records(rows), FOLDER)
    assert made.row_labels == (("b",), ("a",))
    assert made.header == (((64,), "loss"), ((8,), "loss"))
    assert [[cell.mean for cell in row] for row in made.cells] == [[1, None], [3, 2]]
    assert lay_out(made).body[0][1] == ("–", ""), "what was not planned is not missing"
    assert to_arrow(made).num_rows == 3


def test_pooling_anything_but_the_seed_is_said() -> None:
    rows = [trial("a", seed, float(width), width=width, depth=2) for seed in (0, 1) for width in (1, 3)]
    made = table(spec(), records(rows), FOLDER)
    assert (made.cells[0][0].mean, made.cells[0][0].n, made.pooled) == (2, 4, {"width": 2})
    assert "Pooled over width (2 levels)." in lay_out(made).caption


def test_an_unknown_axis_and_an_unknown_metric() -> None:
    with pytest.raises(NotFound, match="did you mean 'start'"):
        table(spec(rows=("strat",)), records(THREE), FOLDER)
    made = table(spec(values=("lost",)), records(THREE), FOLDER)
    assert made.cells[0][0].n_missing == 3
    assert "did you mean 'loss'" in made.notes[0]


def published(folder: Path, text: str, **changes: Any) -> Table:
    (folder / "paper.csv").write_text(text, encoding="utf-8")
    rows = [*THREE, *(trial("a", seed, 1.0) for seed in range(3))]
    return table(spec(paper="paper.csv", **changes), records(rows), folder)


def test_published_values_stand_beside_ours(tmp_path: Path) -> None:
    made = published(tmp_path, "start,metric,value,spread,statistic,n\nb,loss,1.5,0.5,std,4\nc,loss,1,,,\n")
    paper = made.cells[0][0].paper
    assert paper is not None
    assert (paper.value, paper.spread, paper.n) == (1.5, 0.5, 4)
    assert paper.difference == pytest.approx(0.5 / math.sqrt(1 / 3 + 0.25**2))
    assert made.cells[1][0].paper is None
    assert made.notes == ("2 published values, 1 of them beside a cell.",)
    assert lay_out(made).header == (("loss", "ours"), ("loss", "paper"))
    assert lay_out(made).body[0][1] == ("1.50 ± 0.50 (+0.8 s.e.)", "")


def test_published_values_have_the_digits_that_were_published(tmp_path: Path) -> None:
    """And no more: 0.0061 is not 0.006100; nor has a difference of many standard errors a tenth of one."""
    lines = "start,metric,value,spread,statistic,n\nb,loss,0.0061,,,\na,loss,44,0.5,se,3\n"
    texts = [row[1][0] for row in lay_out(published(tmp_path, lines)).body]
    assert texts == ["0.0061", "44.00 ± 0.50 (-86 s.e.)"]


def test_a_blank_level_stands_for_all_and_percent_is_read(tmp_path: Path) -> None:
    made = published(tmp_path, "start,metric,value\n,loss,150%\n")
    assert [row[0].paper and row[0].paper.value for row in made.cells] == [1.5, 1.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strat,metric,value\nb,loss,1\n", r"paper\.csv:1:1: strat: no such column; .*did you mean 'start'"),
        ("start,metric\nb,loss\n", r"paper\.csv:1:1: value: this column is missing"),
        ("start,metric,value\nb,loss,x\n", r"paper\.csv:2:1: value 'x' is not a number"),
        ("start,metric,value\nb,loss,nan\n", r"paper\.csv:2:1: value 'nan' is not a finite number"),
        ("start,metric,value,statistic\nb,loss,1,stdd\n", r"paper\.csv:2:1: statistic 'stdd'; .*did you mean 'std'"),
        ("start,metric,value,n\nb,loss,1,few\n", r"paper\.csv:2:1: n 'few' is not a whole number"),
        ("start,metric,value\nb,loss,1\n,loss,2\n", r"paper\.csv:3:1: lines 2 and 3 are both for one cell"),
        ("start,metric,value\nb,loss,1,2\n", r"paper\.csv:2:1: more cells than columns"),
        ("start,metric,value,spread\nb,loss,1,-2\n", r"paper\.csv:2:1: spread '-2' is less than 0"),
        ("start,metric,value,n\nb,loss,1,²\n", r"paper\.csv:2:1: n '²' is not a whole number"),
        ("start,metric,value,value\nb,loss,1,2\n", r"paper\.csv:1:1: value: this column stands twice"),
        ("start,axis.start,metric,value\nb,b,loss,1\n", r"paper\.csv:1:1: start: this column stands twice"),
        (
            "start,metric,value\nb,loss,1\nb,accuracy,88.2\n",
            r":3:1: value '88.2': accuracy is a fraction of 1; .*88.2% or",
        ),
        ("start,metric,value,spread\nb,loss,88%,1.5\n", r":2:1: value '88%' and spread '1.5' must both be in percent"),
        (f"start,metric,value\nb,loss,{'1' * 140_000}\n", r"paper\.csv:2:1: field larger than field limit"),
    ],
)
def test_a_wrong_file_of_published_values(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        published(tmp_path, text)


def test_published_values_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "paper.csv").write_bytes("start,metric,value\nb,loss,1\n±,loss,1\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"paper\.csv:3:1: byte 0xb1 is no UTF-8"):
        table(spec(paper="paper.csv"), records(THREE), tmp_path)


def test_published_values_that_are_wrong_are_refused_before_anything_runs(tmp_path: Path) -> None:
    text = "name: s\nstages: {w: {workload: tests.toys.walk}}\naxes: {seed: 2}\n"
    text += "tables: {t: {values: norm, paper: p.csv}}\n"
    (tmp_path / "s.yaml").write_text(text)
    (tmp_path / "p.csv").write_text("metric,value\nnorm,much\n")
    with pytest.raises(SpecError, match=r"p\.csv:2:1: value 'much' is not a number"):
        read_checked(tmp_path / "s.yaml", None, {})
    (tmp_path / "p.csv").write_text("metric,value\nnorm,1\n")
    assert read_checked(tmp_path / "s.yaml", None, {}).papers == ("p.csv",)


def test_published_values_that_are_not_there() -> None:
    with pytest.raises(NotFound, match=r"missing\.csv"):
        table(spec(paper="missing.csv"), records(THREE), FOLDER)


@pytest.mark.parametrize(
    ("center", "spread", "metric", "expected"),
    [
        (0.9532, 0.001, "test_accuracy", "95.32 ± 0.10"),
        (1.0, 0.0, "accuracy", "100.00 ± 0.00"),
        (0.5, None, "accuracy", "50.00"),
        (19.2114, 0.0996, "norm", "19.21 ± 0.10"),
        (1234.5, 56.7, "norm", "1234 ± 57"),
        (-2.5e-7, 1e-8, "loss", "(-2.50 ± 0.10)e-7"),
        (11173962.0, None, "parameters", "11173962"),
        (0.0, 0.0, "loss", "0 ± 0"),
        (1.25, 1e-16, "loss", "1.250 ± 1.0e-16"),
        (1.234e-7, None, "loss", "1.234e-7"),
    ],
)
def test_notation(center: float, spread: float | None, metric: str, expected: str) -> None:
    assert plus_minus(center, spread, metric) == expected


def test_notation_of_bounds() -> None:
    assert with_bounds(2.0, 2.0, 2.0, "loss") == "2 [2, 2]"


@pytest.mark.parametrize(
    ("best_in", "expected"),
    [("column", {(0, 0), (1, 0), (0, 1)}), ("row", {(0, 1), (1, 1)}), ("table", {(0, 1)})],
)
def test_the_best_are_bold(best_in: str, expected: set[tuple[int, int]]) -> None:
    """Equal ones both; a cell without a value, or alone, is none."""
    values = {("a", 8): 2.0, ("a", 64): 1.0, ("b", 8): 2.0, ("b", 64): 1.5, ("c", 64): None}
    rows = [
        trial(start, 0, loss, "done" if loss else "missing", width=width) for (start, width), loss in values.items()
    ]
    made = table(spec(columns=("width",), best="min", best_in=best_in), records(rows), FOLDER)
    assert made.bold == expected
    assert [row["best"] for row in to_arrow(made).to_pylist()].count(True) == len(expected)
    for format, sign in (("markdown", "**"), ("latex", "\\textbf{"), ("html", "<strong>"), ("text", "*")):
        own = render(made, format).replace("Bold (* in", "").replace("Bold (\\* in", "")
        assert own.count(sign) == len(expected) * (2 if format == "markdown" else 1)


def test_one_metric_up_another_down_a_third_not() -> None:
    rows = [{**trial(start, 0, at * 1.0), "metric.gain": at * 2.0, "metric.size": 1.0} for at, start in enumerate("ab")]
    wish = {"loss": "min", "gain": "max"}
    made = table(spec(values=("loss", "gain", "size"), best=wish), records(rows), FOLDER)
    assert made.bold == {(0, 0), (1, 1)}
    assert lay_out(made).caption.endswith("Bold (* in plain text): the highest gain, the lowest loss of each column.")


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [("mean_std", "2.000 ± 1.000"), ("mean_min_max", "2.000 [1.000, 3.000]"), ("mean_ci", "2.000 ± 2.484")],
)
def test_decimals(statistic: str, expected: str) -> None:
    made = table(spec(statistic=statistic, decimals=3), records(THREE), FOLDER)
    assert lay_out(made).body[0][0][0] == expected
