"""Verdicts against hand-computed intervals: every form, what caps a verdict, and what the records may lack."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow
import pytest

from orchestrator.claims import Verdict, judge, render_verdicts
from orchestrator.spec import ClaimSpec, Compare

FIELDS = ("compare", "at_least", "at_most", "within", "increasing", "decreasing")


def claim(metric: str = "loss", where: Mapping[str, Any] | None = None, **form: Any) -> ClaimSpec:
    fields: dict[str, Any] = dict.fromkeys(FIELDS) | form
    return ClaimSpec(name="c", says="It is so.", metric=metric, where=where or {}, **fields)


def records(values: Mapping[Any, Sequence[float | None]], axis: str = "start", **fixed: Any) -> list[dict[str, Any]]:
    return [
        {f"axis.{axis}": level, **{f"axis.{name}": value for name, value in fixed.items()}, "axis.seed": seed,
         "metric.loss": value, "status": "done" if value is not None else "missing"}
        for level, of_level in values.items()
        for seed, value in enumerate(of_level)
    ]  # fmt: skip


def verdict(spec: ClaimSpec, rows: list[dict[str, Any]]) -> Verdict:
    return judge(spec, pyarrow.Table.from_pylist(rows))


AB = Compare("start", high="a", low="b")
# Differences a - b by seed are 1, 2, 3: mean 2, interval 2 -+ 4.3027 * 0.5774 = [-0.4841, 4.4841].
ONE_TWO_THREE = records({"a": [11, 22, 33], "b": [10, 20, 30]})


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"at_least": -0.5}, "supported"),
        ({"at_least": 0.0}, "undecided"),
        ({"at_least": 4.5}, "refuted"),
        ({"at_most": 4.5}, "supported"),
        ({"at_most": 0.0}, "undecided"),
        ({"at_most": -0.5}, "refuted"),
        ({"within": 4.5}, "supported"),
        ({"within": 4.4}, "undecided"),
        ({}, "undecided"),
    ],
)
def test_differences_paired_by_seed(form: dict[str, Any], expected: str) -> None:
    found = verdict(claim(compare=AB, **form), ONE_TWO_THREE)
    assert found.verdict == expected
    assert (found.estimate, found.n, found.test) == (2, 3, "paired t over seeds, 95 %")
    assert (found.low, found.high) == (pytest.approx(-0.4841377), pytest.approx(4.4841377))


def test_equivalence_is_refuted_by_an_interval_outside() -> None:
    rows = records({"a": [5, 5.1, 5.2], "b": [0, 0, 0]})
    assert verdict(claim(compare=AB, within=1), rows).verdict == "refuted"
    assert verdict(claim(compare=Compare("start", "b", "a"), within=1), rows).verdict == "refuted"


def test_a_bound_on_the_metric_itself() -> None:
    rows = records({"a": [1, 2, 3]})
    found = verdict(claim(at_least=-1), rows)
    assert (found.verdict, found.estimate, found.test) == ("supported", 2, "t over seeds, 95 %")
    assert verdict(claim(at_most=-1), rows).verdict == "refuted"


def test_an_interval_of_no_width_may_lie_on_the_bound() -> None:
    rows = records({"a": [0.95, 0.95], "b": [0.80, 0.80]})  # 0.95 - 0.80 is a little less than 0.15 in floats
    found = verdict(claim(compare=AB, at_least=0.15), rows)
    assert (found.verdict, found.low) == ("supported", found.high)


def test_too_few_seeds() -> None:
    found = verdict(claim(compare=AB, at_least=0), records({"a": [5], "b": [1]}))
    assert (found.verdict, found.estimate, found.low, found.n) == ("undecided", 4, None, 1)
    assert "too few seeds" in found.why


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metric.loss": None, "status": "failed"}, "1 failed"),
        ({"metric.loss": None, "status": "missing"}, "1 missing"),
        ({"metric.loss": 9.0, "status": "diverged"}, "1 diverged"),
        ({"metric.loss": math.nan}, "1 not finite"),
    ],
)
def test_what_is_dropped_caps_the_verdict_and_is_said(change: dict[str, Any], reason: str) -> None:
    rows = [dict(row) for row in ONE_TWO_THREE]
    rows[2].update(change)
    found = verdict(claim(compare=AB, at_least=-100), rows)
    assert (found.verdict, found.n) == ("undecided", 2)
    assert found.why == f"1 of 3 pairs dropped ({reason}); the others alone would support the claim"


def test_all_combinations_must_hold_and_the_worst_is_told() -> None:
    rows = [
        *records({"a": [5, 6, 5], "b": [0, 0, 0]}, width=8),
        *records({"a": [3, 4, 3], "b": [0, 0, 0]}, width=64),
    ]
    found = verdict(claim(compare=AB, at_least=1), rows)
    assert (found.verdict, found.combination, found.why) == ("supported", "width=64", "2 cases: 2 supported")
    found = verdict(claim(compare=AB, at_least=5.5), rows)
    assert (found.verdict, found.combination) == ("refuted", "width=64")
    assert found.why == "2 cases: 1 refuted, 1 undecided"
    only = verdict(claim(where={"width": 8}, compare=AB, at_least=1), rows)
    assert (only.combination, only.why) == ("", "")
    assert verdict(claim(where={"width": [8, 64]}, compare=AB, at_least=1), rows).n == 3


def test_trends_in_numeric_order() -> None:
    rows = records({10: [3, 3.1, 3.2], 2: [2, 2.1, 2.2], 1: [1, 1.1, 1.2]}, axis="copies")
    assert verdict(claim(increasing="copies"), rows).verdict == "supported"
    found = verdict(claim(decreasing="copies"), rows)
    assert (found.verdict, found.combination) == ("refuted", "1 → 2")
    flat = records({1: [1, 1], 2: [1, 1]}, axis="copies")
    assert verdict(claim(increasing="copies"), flat).verdict == "refuted"


def test_trends_of_named_levels_follow_the_records() -> None:
    rows = records({"small": [1, 1.1], "big": [5, 5.1]})
    assert verdict(claim(increasing="start"), rows).verdict == "supported"
    assert "nothing to order" in verdict(claim(increasing="start"), rows[:2]).why


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (claim("lsos", at_least=0), "did you mean 'loss'"),
        (claim(where={"strat": "a"}, at_least=0), "did you mean 'start'"),
        (claim(where={"start": "c"}, at_least=0), "no trial has start = c; allowed: a, b"),
        (claim(compare=Compare("start", "a", "c"), at_least=0), "no trial has start = c"),
        (claim(where={"start": "a"}, compare=AB, at_least=0), "no trial has start = b"),
    ],
)
def test_what_the_records_lack_is_undecided_and_said(spec: ClaimSpec, message: str) -> None:
    found = verdict(spec, ONE_TWO_THREE)
    assert (found.verdict, found.estimate) == ("undecided", None)
    assert message in found.why


def test_no_trials_at_all() -> None:
    empty = pyarrow.Table.from_pylist(ONE_TWO_THREE).slice(0, 0)
    assert judge(claim(at_least=0), empty).verdict == "undecided"


def test_levels_as_specs_write_them() -> None:
    rows = records({"null": [1, 2, 3], "0.1": [1, 2, 3]})  # the axis [null, 0.1] is a column of text
    assert verdict(claim(where={"start": None}, at_least=-1), rows).verdict == "supported"
    assert verdict(claim(where={"start": 0.1}, at_least=-1), rows).verdict == "supported"
    numbers = records({0.0: [1, 2, 3], 5e-4: [1, 2, 3]})
    assert verdict(claim(where={"start": 0}, at_least=-1), numbers).verdict == "supported"


def test_verdicts_as_text_and_json() -> None:
    rows = [dict(row, **{"metric.test_accuracy": row["metric.loss"] / 100}) for row in ONE_TWO_THREE]
    found = [verdict(claim("test_accuracy", compare=AB, at_least=bound), rows) for bound in (-0.01, 0.0, 0.05)]
    lines = render_verdicts(found).splitlines()
    assert lines[:2] == [
        "✓ supported  c: It is so.",
        "    test_accuracy, start a − b >= -1.00 points: "
        "found 2.00 [-0.48, 4.48] points, n=3 (paired t over seeds, 95 %)",
    ]
    assert [line[:12] for line in lines if line[0] != " "] == ["✓ supported ", "? undecided ", "✗ refuted   "]
    assert [item["verdict"] for item in json.loads(render_verdicts(found, "json"))] == [item.verdict for item in found]
