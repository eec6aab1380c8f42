"""The formats: exact bytes of a small table, escaping, alignment, and that programs can read what is for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from orchestrator.errors import SweepError
from orchestrator.findings.markup import escape_latex
from orchestrator.findings.render import FORMATS, cells_wide, render
from orchestrator.spec import TableSpec
from orchestrator.tables import Table, table, to_arrow


def made(names: tuple[str, ...] = ("none", "crop_flip"), **changes: Any) -> Table:
    rows = [
        {
            "axis.augment": name,
            "axis.lr": lr,
            "axis.seed": seed,
            "metric.test_accuracy": 0.9 + lr + seed / 100 + at / 50,
        }
        for at, name in enumerate(names)
        for lr in (0.0, 0.05)
        for seed in (0, 1)
    ]
    fields: dict[str, Any] = {"name": "t", "rows": ("augment",), "columns": ("lr",), "values": ("test_accuracy",)}
    fields |= {"statistic": "mean_std", "paper": None, "title": "Which?", **changes}
    records = pyarrow.Table.from_pylist([{**row, "status": "done"} for row in rows])
    return table(TableSpec(**fields), records, Path())


def test_text() -> None:
    assert render(made(), "text") == (
        "Which? test_accuracy (%): mean ± sample standard deviation, n=2.\n"
        "\n"
        "─────────────────────────────────────\n"
        "augment            lr=0       lr=0.05\n"
        "─────────────────────────────────────\n"
        "none       90.50 ± 0.71  95.50 ± 0.71\n"
        "crop_flip  92.50 ± 0.71  97.50 ± 0.71\n"
        "─────────────────────────────────────\n"
    )


def test_markdown() -> None:
    assert render(made(), "markdown") == (
        "Which? test_accuracy (%): mean ± sample standard deviation, n=2.\n"
        "\n"
        "| augment | lr=0 | lr=0.05 |\n"
        "| :-- | --: | --: |\n"
        "| none | 90.50 ± 0.71 | 95.50 ± 0.71 |\n"
        "| crop_flip | 92.50 ± 0.71 | 97.50 ± 0.71 |\n"
    )


def test_latex() -> None:
    assert render(made(), "latex") == (
        "% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\n"
        "\\caption{Which? test\\_accuracy (\\%): mean $\\pm$ sample standard deviation, n=2.}\n"
        "\\begin{tabular}{lrr}\n\\toprule\n"
        "augment & \\multicolumn{1}{r}{lr=0} & \\multicolumn{1}{r}{lr=0.05} \\\\\n\\midrule\n"
        "none & 90.50 $\\pm$ 0.71 & 95.50 $\\pm$ 0.71 \\\\\n"
        "crop\\_flip & 92.50 $\\pm$ 0.71 & 97.50 $\\pm$ 0.71 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_csv_is_tidy_and_loses_no_digit() -> None:
    one = made()
    lines = list(csv.DictReader(io.StringIO(render(one, "csv"))))
    assert [line["axis.augment"] for line in lines] == ["none", "none", "crop_flip", "crop_flip"]
    assert [float(line["mean"]) for line in lines] == [cell.mean for row in one.cells for cell in row]
    assert [float(line["spread"]) for line in lines] == [cell.spread for row in one.cells for cell in row]
    assert {line["n"] for line in lines} == {"2"}
    assert render(made(statistic="median_iqr"), "csv").startswith("axis.augment,axis.lr,metric,statistic,median,")


def test_json() -> None:
    value = json.loads(render(made(), "json"))
    assert value["cells"] == to_arrow(made()).to_pylist()
    assert (value["name"], value["statistic"], value["values"]) == ("t", "mean_std", ["test_accuracy"])


def test_arrow_has_declared_types() -> None:
    types = {field.name: str(field.type) for field in to_arrow(made()).schema}
    assert (types["axis.lr"], types["mean"], types["n"], types["paper_value"]) == (
        "double",
        "double",
        "int64",
        "double",
    )
    assert "null" not in types.values()


SPECIALS = ("a_b & 50% #1 $x$ {y} ~ ^ \\ |", "<script>*`学習`*</script>")


def test_special_letters_are_escaped() -> None:
    one = made(SPECIALS)
    latex = render(one, "latex")
    assert r"a\_b \& 50\% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} $|$" in latex
    assert latex.count("{") - latex.count("\\{") == latex.count("}") - latex.count("\\}")
    assert "&lt;script&gt;" in render(one, "html")
    row = next(line for line in render(one, "markdown").splitlines() if "50%" in line)
    assert row.startswith(r"| a_b & 50% #1 $x$ {y} ~ ^ \\ \| | ")
    assert r"\<script>\*\`学習\`\*\</script>" in render(one, "markdown")
    assert {line["axis.augment"] for line in csv.DictReader(io.StringIO(render(one, "csv")))} == set(SPECIALS)


def test_greek_letters_and_minus_signs_in_latex() -> None:
    assert escape_latex("μ²=-1, Σ-x, 1e-7") == r"$\mu$$^2$=$-$1, $\Sigma$-x, 1e-7"
    assert escape_latex("λόγος Αϊ") == (r"$\lambda$$\acute{o}$$\gamma$$o$$\varsigma$ $\mathrm{A}$$\ddot{\iota}$")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("_a_ b_c", r"\_a\_ b_c"),
        ("[x](javascript:y)", r"[x]\(javascript:y)"),
        ("[x][y]", r"[x]\[y]"),
        ("a&amp;b&#60;c & d", r"a\&amp;b\&#60;c & d"),
        ("~~gone~~", r"\~\~gone\~\~"),
    ],
)
def test_markdown_shows_what_a_level_is_called(text: str, shown: str) -> None:
    assert f"| {shown} |" in render(made((text, "b")), "markdown")


def test_html_is_well_formed_with_scoped_headers() -> None:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(tag)
            assert tag != "th" or dict(attrs).get("scope")

        def handle_endtag(self, tag: str) -> None:
            assert found
            while found.pop() != tag:
                pass

    Reader().feed(render(made(), "html"))
    assert found == []


def test_text_is_aligned_in_cells_of_a_terminal() -> None:
    text = render(made(("学習", "x")), "text")
    assert len({cells_wide(line) for line in text.splitlines()[2:]}) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_text_is_no_wider_than_asked_and_loses_no_cell(width: int) -> None:
    one = made(rows=("lr",), columns=("augment",))
    many = made(tuple(f"level-{index}" for index in range(7)), rows=("lr",), columns=("augment",))
    for item in (one, many):
        text = render(item, "text", width)
        assert max(cells_wide(line) for line in text.splitlines()) <= width
        assert len(re.findall("±", text)) - 1 == sum(len(row) for row in item.cells)


def test_header_levels_span_their_columns() -> None:
    one = made(values=("test_accuracy", "missing_metric"))
    lines = render(one, "text").splitlines()
    assert lines[3].split() == ["lr=0", "lr=0.05"]
    assert lines[5].split() == ["augment", *["test_accuracy", "(%)", "missing_metric"] * 2]
    assert "\\cmidrule(lr){2-3} \\cmidrule(lr){4-5}" in render(one, "latex")
    assert "†" in render(one, "text")
    assert "\\textsuperscript{\\dag{}}" in render(one, "latex")


def test_equal_records_give_equal_bytes_in_every_format() -> None:
    for format in FORMATS:
        assert render(made(), format) == render(made(), format)


def test_an_unknown_format() -> None:
    with pytest.raises(SweepError, match="did you mean 'markdown'"):
        render(made(), "markdwn")
