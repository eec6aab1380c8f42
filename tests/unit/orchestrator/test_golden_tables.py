"""Every format of five tables, byte by byte; the LaTeX compiled and looked at as a picture."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy
import pyarrow
import pytest
from matplotlib import image

from orchestrator.findings.render import render
from orchestrator.sweepfile.comparisons import TableSpec
from orchestrator.tables import table
from tests.golden import tables

NEEDED = ("pdflatex", "pdftoppm", "kpsewhich")
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage[a3paper,landscape,margin=1cm]{geometry}
\pagestyle{empty}
\begin{document}
TABLES
\end{document}
"""


def test_formats() -> None:
    found = dict(tables.contents())
    assert found.keys() == {path.name for path in tables.FOLDER.iterdir()}
    for name, text in found.items():
        assert text == (tables.FOLDER / name).read_text(encoding="utf-8"), (
            f"{name}: if this is meant: python tests/golden/tables.py"
        )


@pytest.fixture(scope="module")
def latex() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode:
        what = ", ".join(missing) or "booktabs.sty"
        pytest.skip(f"{what} not installed (texlive-latex-recommended, poppler-utils): no table is compiled")


def test_every_table_compiles_as_it_is(latex: None, tmp_path: Path) -> None:
    """All in one document: each on its page, no line of TeX's log complains, nothing runs out of its page."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(tables.FOLDER.glob("*.tex"))]
    (tmp_path / "tables.tex").write_text(DOCUMENT.replace("TABLES", "\n\\clearpage\n".join(texts)), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=280)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "tables.log").read_text(errors="replace")
    assert not re.findall(r"^(?:!.*|.*Missing character.*|LaTeX Warning: (?!Label|There were).*)$", log, re.MULTILINE)
    subprocess.run(["pdftoppm", "-png", "-r", "60", "tables.pdf", "page"], cwd=tmp_path, check=True)
    pages = sorted(tmp_path.glob("page-*.png"))
    assert len(pages) == len(texts)
    for page in pages:
        ink = numpy.argwhere(image.imread(page)[..., :3].mean(axis=-1) < 0.5)
        high, wide = image.imread(page).shape[:2]
        assert len(ink) > 1000, "a table is on it"
        assert 10 < ink[:, 1].min() < ink[:, 1].max() < wide - 10, f"{page.name}: it fits between the margins"
        assert ink[:, 0].max() < high - 10


def test_levels_of_any_letters_compile_and_are_all_there(latex: None, tmp_path: Path) -> None:
    """An asterisk at the head of a row is not an option of the line's end above it."""
    levels = ["*a", "*b", "[c]", "`d`", "λόγος Αϊ", "$e$", "f\\\\g", "{h", "i%", "é"]
    rows = [{"axis.w": level, "axis.seed": 0, "metric.loss": 1.0, "status": "done"} for level in levels]
    spec = TableSpec(name="t", values=("loss",), rows=("w",))
    text = render(table(spec, pyarrow.Table.from_pylist(rows), tmp_path), "latex")
    (tmp_path / "odd.tex").write_text(DOCUMENT.replace("TABLES", text), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "odd.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=280)
    assert done.returncode == 0, done.stdout[-2000:]
    if shutil.which("pdftotext"):
        shown = subprocess.run(["pdftotext", "-layout", "odd.pdf", "-"], cwd=tmp_path, capture_output=True, text=True)
        assert all(word in shown.stdout for word in ("*a", "*b", "[c]", "`d`", "$e$", "{h", "i%"))
