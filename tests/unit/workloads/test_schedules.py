"""Schedules: the recipes of the five papers, and what an impossible one is told."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from workloads.schedules import Constant, Cosine, Multistep, Plateau, Power, Progress


def rates(schedule: Any, epochs: list[int], base: float) -> list[float]:
    return [base * schedule.factor(epoch, Progress()) for epoch in epochs]


@pytest.mark.parametrize(
    ("schedule", "base", "epochs", "expected"),
    [  # experiments of the papers, epochs counted from 0
        (Multistep(milestones=(150, 250, 350)), 0.01, [0, 149, 150, 250, 350], [1e-2, 1e-2, 1e-3, 1e-4, 1e-5]),
        (Multistep(milestones=(100, 175, 225, 275)), 0.1, [99, 100, 175, 225, 275], [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]),
        (Multistep(milestones=(60, 120, 160), gamma=0.2), 0.01, [59, 60, 120, 160], [0.01, 2e-3, 4e-4, 8e-5]),
        (Multistep(milestones=(3, 8), cumulative=False), 0.001, [2, 3, 8, 19], [1e-3, 1e-4, 1e-4, 1e-4]),
        (Multistep(milestones=(150, 225)), 0.1, [149, 150, 224, 225, 299], [0.1, 0.01, 0.01, 0.001, 0.001]),
        (Constant(), 0.01, [0, 1000], [0.01, 0.01]),
        (Cosine(period=200), 0.1, [0, 50, 100, 200, 300], [0.1, 0.05 * (1 + math.sqrt(0.5)), 0.05, 0, 0]),
        (Cosine(period=10, floor=0.1), 1.0, [0, 5, 10, 11], [1.0, 0.55, 0.1, 0.1]),
        (Power(exponent=0.5), 1.0, [0, 3, 99], [1.0, 0.5, 0.1]),
    ],
)
def test_recipes(schedule: Any, base: float, epochs: list[int], expected: list[float]):
    assert rates(schedule, epochs, base) == pytest.approx(expected, abs=1e-15)


def test_plateau_lowers_the_rate_after_patience_without_a_better_accuracy():
    schedule, progress, factors = Plateau(patience=2, gamma=0.3), Progress(), []
    for epoch, accuracy in enumerate([0.0, 0.2, 0.2, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3], start=1):
        progress = schedule.advance(progress, epoch, accuracy)
        factors.append(schedule.factor(epoch, progress))
    # best at 2; nothing better by 4: a drop; nor by 6: another; better at 7; nothing by 9: a third
    assert factors == pytest.approx([1, 1, 1, 0.3, 0.3, 0.09, 0.09, 0.09, 0.027])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Multistep(milestones=(3, 2)), "milestones ascend"),
        (lambda: Multistep(milestones=(0, 2)), "milestones ascend"),
        (lambda: Cosine(period=0), "greater than 0"),
        (lambda: Plateau(patience=5, gamma=1.5), "less than 1"),
    ],
)
def test_impossible_schedules_are_refused(make: Any, message: str):
    with pytest.raises(ValidationError, match=message):
        make()
