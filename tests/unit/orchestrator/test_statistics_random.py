"""The statistics against SciPy's, statsmodels' and numpy's on random data, bit by bit where both are exact."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_paired

from orchestrator.findings import medians, statistics
from orchestrator.findings.notation import plus_minus
from orchestrator.tables import summary

VALUES = st.floats(-1e6, 1e6).map(lambda value: value if abs(value) > 1e-100 else 0.0)  # numpy squares the rest away
SAMPLE = st.lists(VALUES, min_size=2, max_size=40)
WILD = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=200)
TOLERANCE = 1e-9


def close(found: Any, expected: Any, scale: float = 1.0) -> bool:
    return numpy.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * scale)


def varied(*samples: list[float]) -> float:
    """The largest value; refuses samples whose spread is lost in SciPy's rounding."""
    size = max(abs(value) for sample in samples for value in sample)
    assume(all(numpy.ptp(sample) > 1e-6 * max(size, 1e-6) for sample in samples))
    return size


@given(WILD)
def test_a_sum_of_many_is_exact(values: list[float]) -> None:
    assume(3 * sum(map(abs, values)) < 1e308)  # beyond it `math.fsum` gives up
    assert statistics.exact_sum(numpy.array(values, float)) == math.fsum(values)
    assert statistics.exact_sum(numpy.array(values[::-1] * 3, float)) == math.fsum(values * 3)


@given(SAMPLE)
def test_mean_deviation_and_standard_error(values: list[float]) -> None:
    size = max(map(abs, values))
    assert close(statistics.mean_and_std(values), (numpy.mean(values), numpy.std(values, ddof=1)), size)
    assert close(statistics.standard_error(values), scipy.stats.sem(values), size)
    assert statistics.mean_and_std(values) == (statistics.mean(values), statistics.std(values))


@given(st.lists(st.floats(-1e200, 1e200), min_size=1, max_size=31))
def test_few_values_and_many_go_one_way(values: list[float]) -> None:
    found = statistics.mean_and_std(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "FEW", 0)
        assert statistics.mean_and_std(values) == found


@given(SAMPLE, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_t_interval(values: list[float], level: float) -> None:
    size = varied(values)
    expected = DescrStatsW(values).tconfint_mean(1 - level)
    found = statistics.t_interval(values, level)
    assert found is not None
    assert close((found.low, found.high), expected, size)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=40), VALUES)
def test_paired_differences(pairs: list[tuple[float, float]], bound: float) -> None:
    first, second = [list(side) for side in zip(*pairs, strict=True)]
    size = varied([above - below for above, below in pairs])
    found = statistics.paired(first, second)
    assert found is not None
    expected = scipy.stats.ttest_rel(first, second)
    interval = expected.confidence_interval()
    assert close(found.interval()[1:3], (interval.low, interval.high), size)
    shifted = scipy.stats.ttest_rel([value - bound for value in first], second, alternative="greater")
    assert found.above(bound) == pytest.approx(shifted.pvalue, rel=1e-6, abs=1e-9)


@given(SAMPLE, SAMPLE)
def test_welch(first: list[float], second: list[float]) -> None:
    size = varied(first, second)
    found = statistics.welch(first, second)
    assert found is not None
    expected = CompareMeans(DescrStatsW(first), DescrStatsW(second)).tconfint_diff(usevar="unequal")
    assert close(found.interval()[1:3], expected, size)
    p_value = scipy.stats.ttest_ind(first, second, equal_var=False, alternative="less")[1]
    assert found.below(0) == pytest.approx(p_value, rel=1e-6, abs=1e-9)


def test_values_of_any_size_have_a_mean_and_a_deviation() -> None:
    assert statistics.mean_and_std([9e307, -9e307, 9e307]) == pytest.approx((3e307, 9e307 * 1.1547005383792515))
    center, spread = statistics.mean_and_std([1.7e308, -1.7e308, 1.7e308])
    assert (center, spread) == (pytest.approx(1.7e308 / 3), math.inf)
    assert plus_minus(1.7e308 / 3, spread, "loss") == "5.667e307 ± ∞"
    assert statistics.mean_and_std([3e-300, 1e-300]) == pytest.approx((2e-300, 2**0.5 * 1e-300), abs=0)
    assert statistics.mean([1.7e308] * 50) == pytest.approx(1.7e308)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm(p_values: list[float]) -> None:
    assert close(statistics.holm(p_values), multipletests(p_values, method="holm")[1])


@given(SAMPLE.filter(lambda values: numpy.ptp(values) > 1e-3), st.floats(1e-3, 1e6))
def test_equivalence_is_two_one_sided_tests(values: list[float], margin: float) -> None:
    varied(values)
    found = statistics.student(values)
    assert found is not None
    both = ttost_paired(numpy.array(values), numpy.zeros(len(values)), -margin, margin)[0]
    assert max(found.above(-margin), found.below(margin)) == pytest.approx(both, rel=1e-6, abs=1e-9)


@given(SAMPLE)
def test_quartiles(values: list[float]) -> None:
    found = statistics.median_quartiles(values)
    assert close(found, numpy.quantile(values, [0.5, 0.25, 0.75]), max(map(abs, values)))


MEDIANS = st.lists(st.floats(-100, 100).map(lambda value: round(value, 6)), min_size=6, max_size=25)


@settings(max_examples=10, deadline=None)
@given(MEDIANS, st.floats(-50, 50))
def test_medians(values: list[float], bound: float) -> None:
    """Against SciPy's bootstrap within what so many draws differ by, and against its exact test of a quantile."""
    found = medians.median(values)
    assert found is not None
    assert found.estimate == pytest.approx(numpy.median(values))
    again = scipy.stats.bootstrap(
        (values,), numpy.median, n_resamples=medians.DRAWS, method="percentile", rng=1, vectorized=True, axis=-1
    )
    chance = (max(values) - min(values)) / (2 * math.sqrt(medians.DRAWS))  # a bound on the error of either's error
    assert found.error == pytest.approx(again.standard_error, rel=0, abs=7 * chance + 1e-9)
    exact = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    interval = found.interval()
    assert interval.low <= exact.low <= exact.high <= interval.high
    under = sum(value <= bound for value in values)
    assert found.above(bound) >= scipy.stats.binomtest(under, len(values), 0.5, "less").pvalue - 1e-12


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), st.integers(1, 9))
def test_a_conjunction_of_all_is_the_largest_and_of_one_is_bonferroni(values: list[float], needed: int) -> None:
    p_values = [1 / (1 + math.exp(-max(-30.0, min(30.0, value)))) for value in values]
    assert statistics.conjunction(p_values, len(p_values)) == max(p_values)
    assert statistics.conjunction(p_values, 1) == pytest.approx(min(1, min(p_values) * len(p_values)))
    assume(needed <= len(p_values))
    assert statistics.conjunction(p_values, needed) >= sorted(p_values)[needed - 1]


def test_the_notation_of_the_papers() -> None:
    """Liu et al. print mean and sample standard deviation of 5 seeds, Goldblum et al. the standard error of 10."""
    five = [0.9493, 0.9481, 0.9502, 0.9487, 0.9490]
    center, spread, *_ = summary(five, "mean_std")
    assert center is not None
    assert plus_minus(center, spread, "test_accuracy") == "94.91 ± 0.08"
    assert (center, spread) == (pytest.approx(0.949060), pytest.approx(numpy.std(five, ddof=1)))
    ten = [0.9311, 0.9345, 0.9328, 0.9302, 0.9339, 0.9317, 0.9350, 0.9321, 0.9333, 0.9324]
    center, spread, *_ = summary(ten, "mean_se")
    assert center is not None
    assert plus_minus(center, spread, "test_accuracy") == "93.27 ± 0.05"
    assert spread == pytest.approx(scipy.stats.sem(ten))
