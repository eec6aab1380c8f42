"""Eigenvalues in tables, explanations and claims: never without their residual, nor with a sign it does not decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from orchestrator.claims import judge
from orchestrator.findings import origins
from orchestrator.findings.render import FORMATS, render
from orchestrator.spec import TableSpec
from orchestrator.store import Store
from orchestrator.sweepfile.comparisons import ClaimSpec, Compare
from orchestrator.tables import Table, table

NAME = "smallest_hessian_eigenvalue"


def records(*trials: tuple[str, float | None, float | None]) -> pyarrow.Table:
    """(start, value, residual), the seeds in turn."""
    rows = [
        {
            "axis.start": start, "axis.seed": sum(before[0] == start for before in trials[:place]), "status": "done",
            f"metric.{NAME}": value, f"metric.{NAME}_residual": residual, "meta.trial": f"{place}",
            f"metric.{NAME}_sign": value and residual and float(abs(value) > residual) * (1 if value > 0 else -1),
        }
        for place, (start, value, residual) in enumerate(trials)
    ]  # fmt: skip
    return pyarrow.Table.from_pylist(rows)


FOUND = records(("a", -1.0, 1e-3), ("a", -1.5, 2e-4), ("b", 0.001, 1e-4), ("b", -0.0005, 1e-3), ("c", None, None))


def made(**changes: Any) -> Table:
    fields: dict[str, Any] = {"name": "t", "rows": ("start",), "columns": (), "values": (NAME,)}
    fields |= {"statistic": "mean_std", "paper": None, "title": "Curved?", **changes}
    return table(TableSpec(**fields), FOUND, Path())


def test_a_cell_has_the_largest_residual_of_its_trials_and_no_sign_that_one_of_them_lacks() -> None:
    (a,), (b,), (c,) = made().cells
    assert a.residual is not None
    assert (a.residual.largest, a.residual.signed) == (1e-3, True)
    assert b.residual is not None
    assert (b.residual.largest, b.residual.signed) == (1e-3, False)
    assert c.residual is None


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("csv", "json")])
def test_formats_for_people_print_both(format: str) -> None:
    printed = render(made(), format)
    assert "(r 1e-03)" in printed
    assert "0.00025" in printed
    assert "-0.00025" not in printed.replace("−", "-")
    assert "whose sign it does not decide" in " ".join(printed.split())


def test_formats_for_programs_have_columns_of_their_own() -> None:
    cells = json.loads(render(made(), "json"))["cells"]
    assert [(cell["largest_residual"], cell["has_sign"]) for cell in cells] == [(1e-3, True), (1e-3, False)]
    assert render(made(), "csv").splitlines()[0].endswith("largest_residual,has_sign")


def test_fixed_decimals_too() -> None:
    printed = render(made(decimals=2), "markdown")
    assert "-1.25 ± 0.35 (r 1e-03)" in printed
    assert "\\|0.00\\| (r 1e-03)" in printed


def test_other_metrics_have_none() -> None:
    assert "largest_residual" not in render(made(values=(f"{NAME}_sign",)), "csv")


def test_explanations_have_that_of_each_trial(tmp_path: Path) -> None:
    shown, cell = made(), (0, 0)
    found = origins.Origins(shown, FOUND).of(*cell)
    text = origins.explained(shown, cell, found, Store(tmp_path), "t")
    assert "-1.0 (residual 1.0e-03)" in text
    assert "-1.5 (residual 2.0e-04)" in text
    assert "-1.5 (residual 2.0e-04)" in origins.comment(shown, FOUND)


def claim(**form: Any) -> ClaimSpec:
    return ClaimSpec(name="c", says="It is.", metric=NAME, **form)


@pytest.mark.parametrize(("residual", "verdict"), [(1e-4, "supported"), (0.2, "undecided")])
def test_residuals_stand_against_support(residual: float, verdict: str) -> None:
    """Values 0.10, 0.11, 0.12: at least 0.05 but for residuals that reach below it."""
    found = records(*((("a"), value, residual) for value in (0.10, 0.11, 0.12)))
    judged = judge(claim(at_least=0.05), found)
    assert judged.verdict == verdict
    assert "residuals up to" in str(judged)


@pytest.mark.parametrize(("residual", "verdict"), [(1e-4, "refuted"), (0.2, "undecided")])
def test_and_against_refutation(residual: float, verdict: str) -> None:
    found = records(*((("a"), value, residual) for value in (0.10, 0.11, 0.12)))
    assert judge(claim(at_least=0.2), found).verdict == verdict


@pytest.mark.parametrize(("residual", "verdict"), [(0.02, "supported"), (0.06, "undecided")])
def test_differences_have_the_residuals_of_both(residual: float, verdict: str) -> None:
    """0.30, 0.31, 0.32 less 0.20, 0.21, 0.22: a difference of 0.1 has no room for two residuals of 0.06."""
    sides = (("a", 0.2), ("b", 0.3))
    found = records(*((start, value + seed / 100, residual) for start, value in sides for seed in range(3)))
    assert judge(claim(compare=Compare("start", high="b", low="a"), at_least=0.0), found).verdict == verdict
