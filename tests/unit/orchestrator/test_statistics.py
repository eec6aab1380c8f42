"""The statistics against hand-computed values and against SciPy and numpy."""

from __future__ import annotations

import math
import random

import numpy
import pytest
import scipy.stats

from orchestrator.findings import statistics


def samples(seed: int) -> tuple[list[float], list[float]]:
    draw = random.Random(seed)
    size = draw.randint(2, 12)
    return [draw.gauss(0, 3) for _ in range(size)], [draw.gauss(1, 1) for _ in range(size)]


def test_known_answers() -> None:
    assert statistics.mean([1, 2, 3]) == 2
    assert statistics.std([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(math.sqrt(32 / 7))
    assert statistics.standard_error([1, 2, 3]) == pytest.approx(0.5774, abs=5e-5)
    assert statistics.median_quartiles([3, 1, 2]) == (2, 1.5, 2.5)


@pytest.mark.parametrize("values", [[], [4.0]])
def test_fewer_than_two_values_have_no_spread(values: list[float]) -> None:
    assert statistics.std(values) is None
    assert statistics.standard_error(values) is None
    assert statistics.t_interval(values) is None
    assert statistics.paired(values, values) is None
    assert statistics.welch(values, [1, 2]) is None


def test_no_values_have_no_center() -> None:
    assert statistics.mean([]) is None
    assert statistics.median_quartiles([]) is None


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert statistics.t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5, 3)
    found = statistics.welch([2, 2], [1, 1])
    assert found is not None
    assert found.interval() == (1, 1, 1, 2)


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError):
        statistics.paired([1, 2], [1])


def bounds(found: statistics.Student | None) -> tuple[float, float]:
    assert found is not None
    return found.interval()[1:3]


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_numpy_and_scipy(seed: int) -> None:
    first, second = samples(seed)
    assert statistics.std(first) == pytest.approx(numpy.std(first, ddof=1))
    assert statistics.standard_error(first) == pytest.approx(scipy.stats.sem(first))
    assert statistics.median_quartiles(first) == pytest.approx(numpy.quantile(first, [0.5, 0.25, 0.75]))
    plain = scipy.stats.ttest_1samp(first, 0).confidence_interval()
    assert statistics.t_interval(first) == pytest.approx((numpy.mean(first), plain.low, plain.high, len(first)))
    paired = scipy.stats.ttest_rel(first, second).confidence_interval()
    assert bounds(statistics.paired(first, second)) == pytest.approx((paired.low, paired.high))
    unpaired = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert bounds(statistics.welch(first, second)) == pytest.approx((unpaired.low, unpaired.high))


def test_the_order_of_the_values_changes_no_bit() -> None:
    values = [random.Random(1).gauss(0, 10.0**exponent) for exponent in range(-8, 8)]
    assert statistics.t_interval(values) == statistics.t_interval(values[::-1])
