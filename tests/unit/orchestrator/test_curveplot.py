"""Plots of curves: sound SVG for any history."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pyarrow
import pyarrow.parquet
import pytest

from orchestrator.to_mlflow.curveplot import MAX_POINTS, plot

SVG = "{http://www.w3.org/2000/svg}"


def drawn(tmp_path: Path, **columns: list) -> ElementTree.Element:
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "history.parquet")
    return ElementTree.fromstring(plot("fit <a&b>", tmp_path / "history.parquet"))


def test_every_name_has_a_panel_with_its_curve(tmp_path: Path) -> None:
    picture = drawn(tmp_path, step=[1, 2, 3], loss=[3.0, 2.0, 1.0], rate=[None, 0.5, math.inf], bad=[math.nan] * 3)
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts[0] == "fit <a&b>"
    assert {"loss", "rate", "bad", "no finite values", "3", "1"} <= set(texts)
    lines = [line.attrib["points"].split() for line in picture.iter(f"{SVG}polyline")]
    assert [len(line) for line in lines] == [3, 1]
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights), "it falls"


@pytest.mark.parametrize("count", [1, MAX_POINTS, MAX_POINTS + 1, 10 * MAX_POINTS + 7])
def test_long_curves_are_thinned_and_end_where_they_end(tmp_path: Path, count: int) -> None:
    picture = drawn(tmp_path, step=[*range(count)], loss=[float(step) for step in range(count)])
    (line,) = (line.attrib["points"].split() for line in picture.iter(f"{SVG}polyline"))
    assert 1 <= len(line) <= MAX_POINTS + 1
    assert str(count - 1) in [text.text for text in picture.iter(f"{SVG}text")]
