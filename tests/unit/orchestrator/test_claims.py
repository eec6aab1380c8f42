"""Verdicts against hand-computed intervals: every form, what caps a verdict, and what the records may lack."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import pyarrow
import pytest
import scipy.stats
import statsmodels.stats.power

from orchestrator.claims import Verdict, judge, judge_all
from orchestrator.findings.verdicts import render_verdicts, tally
from orchestrator.report.answers import verdict_text
from orchestrator.sweepfile.comparisons import ClaimSpec, Compare, Contrast, ForMost, Order


def claim(metric: str = "loss", where: Mapping[str, Any] | None = None, **form: Any) -> ClaimSpec:
    return ClaimSpec(name="c", says="It is so.", metric=metric, where=where or {}, **form)


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
    two = ", two one-sided tests" if "within" in form else ""
    assert (found.estimate, found.n, found.test) == (2, 3, f"paired t over seeds{two}, 95 %")
    assert (found.low, found.high) == (pytest.approx(-0.4841377), pytest.approx(4.4841377))


def test_equivalence_is_refuted_by_an_interval_outside() -> None:
    rows = records({"a": [5, 5.1, 5.2], "b": [0, 0, 0]})
    assert verdict(claim(compare=AB, within=1), rows).verdict == "refuted"
    assert verdict(claim(compare=Compare("start", "b", "a"), within=1), rows).verdict == "refuted"


# By seed 0, 1, 3 and 0, 2, 4 and 0, 1, 5 over three widths, the middle one of 9, 10, 100: slopes (y3 - y1) / 2.
WIDTHS = records({10: [1, 2, 1], 9: [0, 0, 0], 100: [3, 4, 5]}, axis="width")


@pytest.mark.parametrize(
    ("form", "expected"),
    [({"at_least": 0.7}, "supported"), ({"at_most": 0.7}, "refuted"), ({"within": 3.3}, "supported")],
)
def test_a_trend_is_the_slope_over_the_ranks_of_levels(form: dict[str, Any], expected: str) -> None:
    found = verdict(claim(trend="width", **form), WIDTHS)
    slopes = [numpy.polyfit([0, 1, 2], row, 1)[0] for row in ([0, 1, 3], [0, 2, 4], [0, 1, 5])]
    low, high = scipy.stats.t.interval(0.95, 2, numpy.mean(slopes), scipy.stats.sem(slopes))
    assert (found.verdict, found.estimate, found.n) == (expected, pytest.approx(numpy.mean(slopes)), 3)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.criterion.startswith("loss a level of width ")


def test_a_trend_takes_the_levels_of_each_combination_and_the_seeds_that_have_them_all() -> None:
    rows = records({1: [1, 2, 3], 2: [2, 4]}, axis="width", net="x") + records(
        {1: [5, 5], 3: [4, 3]}, axis="width", net="y"
    )
    found = verdict(claim(trend="width", at_least=-9, for_all=("net",)), rows)
    assert (found.verdict, found.n, found.why) == ("supported", 2, "2 cases: 2 supported")
    assert verdict(claim(trend="width", at_least=0), records({1: [1, 2, 3]}, axis="width")).verdict == "undecided"
    failed = verdict(claim(trend="width", at_least=0), records({1: [1, 1, 1], 2: [2, 3, None]}, axis="width"))
    assert (failed.verdict, failed.n) == ("undecided", 2)


def test_a_contrast_is_a_weighted_sum_over_levels() -> None:
    rows = records({"start": [0, 1, 2], "early": [8, 10, 9], "end": [10, 11, 12]}, axis="when")
    contrast = Contrast("when", {"early": 1, "start": -0.5, "end": -0.5})
    found = verdict(claim(contrast=contrast, at_least=0), rows)
    assert (found.verdict, found.estimate) == ("supported", pytest.approx((3 + 4 + 2) / 3))
    assert verdict(claim(contrast=contrast, at_least=0.6), rows).verdict == "undecided"  # 3 - 4.3027 / sqrt(3)
    assert found.criterion == "loss, when 1 early − 0.5 start − 0.5 end >= 0"
    assert verdict(claim(contrast=Contrast("when", {"late": 1}), at_least=0), rows).estimate is None


def test_a_residual_counts_by_the_weights() -> None:
    rows = [row | {"metric.loss_residual": 0.1} for row in records({"a": [3, 3.01], "b": [1, 1.01]})]
    contrast = Contrast("start", {"a": 1.0, "b": -2.0})
    assert verdict(claim(contrast=contrast, at_least=0.6), rows).verdict == "supported"  # 1 - 3 * 0.1
    assert verdict(claim(contrast=contrast, at_least=0.75), rows).verdict == "undecided"


def test_a_bound_on_the_metric_itself() -> None:
    rows = records({"a": [1, 2, 3]})
    found = verdict(claim(at_least=-1), rows)
    assert (found.verdict, found.estimate, found.test) == ("supported", 2, "t over seeds, 95 %")
    assert verdict(claim(at_most=-1), rows).verdict == "refuted"


def test_an_interval_of_no_width_may_lie_on_the_bound() -> None:
    rows = records({"a": [0.95, 0.95], "b": [0.80, 0.80]})  # 0.95 - 0.80 is a little less than 0.15 in floats
    found = verdict(claim(compare=AB, at_least=0.15), rows)
    assert (found.verdict, found.low) == ("supported", found.high)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"at_least": 0.0}, "supported"),
        ({"at_most": 0.0}, "supported"),
        ({"at_least": 1e-15}, "refuted"),
        ({"increasing": "start"}, "refuted"),
        ({"statistic": "median", "at_most": 0.0}, "supported"),
    ],
)
def test_values_that_are_all_zero_lie_on_a_bound_of_zero(form: dict[str, Any], expected: str) -> None:
    """Such as dead units, or the distance of a network that stays where it was."""
    assert verdict(claim(**form), records({"a": [0.0] * 6, "b": [0.0] * 6})).verdict == expected


def test_what_a_gathering_stage_reports_counts_once() -> None:
    """It stands in the row of the first trial that it gathers; the others are done and have none to give."""
    rows = records({0: [1.0, 1.1, 1.2], 1: [None] * 3}, axis="copies")
    gathered = [{**row, "status": "done"} for row in rows]
    found = verdict(claim(at_least=0.5), gathered)
    assert (found.verdict, found.n, found.why) == ("supported", 3, "")
    assert verdict(claim(at_least=0.5), rows).verdict == "undecided", "these are missing"
    assert (
        "no trial with the levels of `where` reports loss"
        in verdict(claim(where={"copies": 1}, at_least=0.5), gathered).why
    )


def test_values_too_large_to_compute_with_are_dropped() -> None:
    rows = records({"a": [1e308, 1.7e308, 1e308], "b": [-1e308, -1.7e308, -1e308]})
    found = verdict(claim(compare=AB, at_least=0.0), rows)
    assert (found.verdict, found.n) == ("undecided", 0)
    assert found.why.startswith("3 of 3 pairs dropped (3 beyond 1e+300)")


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
    rows = records({10: [3, 3.4, 4.2], 2: [2, 2.5, 3], 1: [1, 1.5, 2]}, axis="copies")
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
        (claim(where={"start": "c"}, at_least=0), "no trial has start = c, only a, b"),
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


def test_seeds_that_are_not_shared_are_compared_by_welch() -> None:
    high = [{**row, "axis.seed": row["axis.seed"] + 100} for row in records({"a": [11, 22, 33]})]
    found = verdict(claim(compare=AB, at_least=-100), high + records({"b": [10, 20, 30]}))
    expected = scipy.stats.ttest_ind([11, 22, 33], [10, 20, 30], equal_var=False).confidence_interval()
    assert (found.verdict, found.estimate, found.n, found.test) == ("supported", 2, 3, "Welch's t over seeds, 95 %")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.found == "2 [-22, 26]", "no unit is lost where nothing is paired"


def test_the_shared_seeds_of_adaptive_sweeps_are_paired_and_called_sequential() -> None:
    rows = records({"a": [11, 22, 33, 40, 50], "b": [10, 20, 30]})
    found = verdict(claim(compare=AB, at_least=-0.5), [{**row, "meta.seeds": 3} for row in rows])
    assert (found.verdict, found.n) == ("supported", 3)
    assert found.test == "paired t over seeds, 95 %, sequential (adaptive seeds)"


def test_a_range_of_the_metric_and_of_a_difference() -> None:
    rows = records({"a": [2.302, 2.303, 2.3035]})
    found = verdict(claim(at_least=2.30, at_most=2.31), rows)
    assert (found.verdict, found.criterion) == ("supported", "loss in 2.3 .. 2.31")
    assert verdict(claim(at_least=2.31, at_most=2.32), rows).verdict == "refuted"
    assert verdict(claim(at_least=2.303, at_most=2.4), rows).verdict == "undecided"
    both = verdict(claim(compare=AB, at_least=-0.5, at_most=4.5), ONE_TWO_THREE)
    assert (both.verdict, both.test) == ("supported", "paired t over seeds, two one-sided tests, 95 %")


def test_an_order_of_levels() -> None:
    rows = records({"none": [1, 2, 3], "wd": [2, 3.1, 4], "nb": [5, 6, 7.1]})
    found = verdict(claim(order=Order("start", ("none", "wd", "nb"))), rows)
    assert (found.verdict, found.combination) == ("supported", "none → wd")
    assert found.criterion == "loss, start none < wd < nb"
    wrong = verdict(claim(order=Order("start", ("nb", "wd", "none"))), rows)
    assert (wrong.verdict, wrong.why) == ("refuted", "2 cases: 2 refuted")
    assert "no trial has start = x" in verdict(claim(order=Order("start", ("none", "x"))), rows).why


def of_widths(*differences: Sequence[float]) -> list[dict[str, Any]]:
    """By width the differences a - b of the seeds."""
    return [row for width, d in enumerate(differences) for row in records({"a": d, "b": [0.0] * len(d)}, width=width)]


GOOD, BAD, UNCLEAR = [1.0, 1.1, 1.2, 1.05], [-1.0, -1.1, -1.2, -1.05], [-1.0, 1.0, 0.5, -0.2]


@pytest.mark.parametrize(
    ("widths", "share", "expected"),
    [
        ([GOOD, GOOD, BAD], None, "supported"),  # 2 of 3
        ([GOOD, GOOD, BAD], 1.0, "refuted"),
        ([GOOD, BAD, BAD], None, "refuted"),
        ([GOOD, GOOD, UNCLEAR, UNCLEAR], 0.5, "supported"),
        ([GOOD, GOOD, UNCLEAR, UNCLEAR], 0.75, "undecided"),
        ([GOOD, GOOD, UNCLEAR, UNCLEAR], None, "undecided"),  # most is more than half
        ([BAD, BAD, GOOD, GOOD], None, "refuted"),
        ([GOOD, GOOD, GOOD, GOOD, BAD], 0.8, "supported"),
    ],
)
def test_for_most_levels_of_another_axis(widths: list[list[float]], share: float | None, expected: str) -> None:
    spec = claim(compare=AB, at_least=0.0, for_most=ForMost("width", share))
    found = verdict(spec, of_widths(*widths))
    assert found.verdict == expected
    assert f"{len(widths)} levels of width (" in found.why
    assert found.criterion.endswith("for most width" if share is None else f"for at least {100 * share:g} % of width")


def test_for_all_is_what_holds_without_it() -> None:
    plain, stated = claim(compare=AB, at_least=0.0), claim(compare=AB, at_least=0.0, for_all=("width",))
    for widths in ([GOOD, GOOD], [GOOD, BAD], [GOOD, UNCLEAR]):
        assert verdict(plain, of_widths(*widths)).verdict == verdict(stated, of_widths(*widths)).verdict
    assert verdict(stated, of_widths(GOOD, GOOD)).criterion == "loss, start a − b >= 0, for all width"
    assert "no axis 'depth'" in verdict(claim(compare=AB, at_least=0.0, for_all=("depth",)), of_widths(GOOD)).why


def test_one_of_many_cases_refutes_only_after_correction() -> None:
    nearly = [-1.0, -0.3, -0.8, -0.4]  # alone its 95 % interval is below 0
    assert verdict(claim(compare=AB, at_least=0.0), of_widths(nearly)).verdict == "refuted"
    many = verdict(claim(compare=AB, at_least=0.0), of_widths(nearly, *[UNCLEAR] * 9))
    assert many.verdict == "undecided"
    assert "refuted there at 95 %, but not after the correction for several cases" in many.why


def test_undecided_says_how_many_seeds_more() -> None:
    found = verdict(claim(compare=AB, at_least=0.5), records({"a": [1, 3, 0.5, 2.5], "b": [0, 0, 0, 0]}))
    assert (found.verdict, found.more) == ("undecided", 6)
    assert "too few seeds: about 6 more (10 in all) for 80 % power at this spread" in found.why
    solved = statsmodels.stats.power.TTestPower().solve_power(
        1.25 / numpy.std([1, 3, 0.5, 2.5], ddof=1), power=0.8, alpha=0.05
    )
    assert math.ceil(solved) == 10
    at = verdict(claim(compare=AB, at_least=1.75), records({"a": [1, 3, 0.5, 2.5], "b": [0, 0, 0, 0]}))
    assert (at.more, at.why) == (
        None,
        "the interval contains the bound; too near the bound to be decided with 1000 seeds",
    )


def test_medians_by_bootstrap() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0]
    found = verdict(claim(at_least=0.5, statistic="median"), records({"a": values}))
    assert (found.verdict, found.estimate, found.test) == ("supported", 4, "median, bootstrap over seeds, 95 %")
    assert (found.low, found.high) == (1, 100), "never narrower than the exact interval"
    few = verdict(claim(at_least=0.5, statistic="median"), records({"a": values[:5]}))
    assert (few.verdict, few.estimate, few.low) == ("undecided", 3, None)
    assert few.why == "too few seeds: 5 values, at least 6 are needed, 1 more"
    pairs = verdict(claim(compare=AB, at_least=0.5, statistic="median"), records({"a": values, "b": [0] * 7}))
    assert (pairs.estimate, pairs.test) == (4, "median of pairs, bootstrap over seeds, 95 %")
    apart = [{**row, "axis.seed": row["axis.seed"] + 50} for row in records({"b": [0.0, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3]})]
    two = verdict(claim(compare=AB, at_least=0.5, statistic="median"), records({"a": values}) + apart)
    assert (two.verdict, two.test) == ("supported", "difference of medians, bootstrap over seeds, 95 %")
    assert two == verdict(claim(compare=AB, at_least=0.5, statistic="median"), records({"a": values}) + apart)


def test_holm_over_the_claims_of_a_sweep() -> None:
    rows = pyarrow.Table.from_pylist(of_widths([1.0, 0.3, 0.8, 0.4]))
    one = claim(compare=AB, at_least=0.0)
    assert [(item.verdict, item.adjusted) for item in judge_all([one], rows)] == [("supported", "supported")]
    several = judge_all([one, *[claim(compare=AB, at_least=0.5)] * 4], rows)
    assert (several[0].verdict, several[0].adjusted) == ("supported", "undecided")
    text = render_verdicts(several)
    assert several[0].p == pytest.approx(scipy.stats.ttest_1samp([1.0, 0.3, 0.8, 0.4], 0)[1])
    assert f"after Holm's correction for the 5 claims of the sweep: undecided (p = {several[0].p:.2g} alone)" in text
    assert json.loads(render_verdicts(several, "json"))[0]["adjusted"] == "undecided"
    after = "after Holm's correction for all of them 5 undecided"
    assert tally(several) == f"5 claims: 1 supported, 4 undecided; {after}."
    assert [tally(several[1:]), tally(several[:1])] == ["4 claims: 4 undecided.", ""]
    assert '✓ supported <span class="faint">alone</span>' in verdict_text(several[0])
    assert "alone" not in verdict_text(several[1])


def test_tiny_values_are_not_taken_for_rounding() -> None:
    rows = records({"a": [2e-14, 3e-14, 4e-14], "b": [1e-15, 2e-15, 1e-15]})
    assert verdict(claim(compare=AB, at_least=1e-13), rows).verdict == "refuted"
