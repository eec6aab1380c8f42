"""Adaptive seeds: the smallest ended prefix decides, whatever the order; a rule that is wrong says so."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.planning import adaptive
from orchestrator.planning.adaptive import Seeds
from orchestrator.record import rows
from orchestrator.spec import read
from orchestrator.store import Failure, Outcome

SWEEP = """
name: adaptive
stages:
  first:  {workload: tests.toys.noop, note: first}
  second: {workload: tests.toys.noop, from: first}
axes:
  second.x: [1, 2]
  seed: {until: {metric: value, standard_error: 0.5}, at_least: 2, at_most: 5}
"""
SCATTERED = (0.0, 4.0, 2.0, 2.0, 2.0)  # standard errors 2, 1.15, 0.82, 0.63
CLOSE = (1.0, 1.5, 9.0, 9.0, 9.0)  # 0.25


def planned(tmp_path: Path, text: str = SWEEP) -> Plan:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return make_plan(read(path), tmp_path)


def outcome(key: str, value: float, status: Any = "done") -> Outcome:
    return Outcome(key, "tests.toys.noop", status, {"value": value}, {}, 0, None, 1.0, {}, {})


def shown(plan: Plan, indices: set[int]) -> dict[float, int]:
    """How many seeds each level of x has."""
    counts: dict[float, int] = {}
    for index in indices:
        x = plan.trials[index].trial.levels["second.x"]
        assert isinstance(x, int)
        counts[x] = counts.get(x, 0) + 1
    return counts


def finish(plan: Plan, seeds: Seeds, outcomes: dict[str, Outcome], order: int) -> None:
    """End every wanted trial, in an order of its own; values by level and seed."""
    values = {1: SCATTERED, 2: CLOSE}
    while left := [index for index in sorted(seeds.wanted) if plan.trials[index].nodes["second"] not in outcomes]:
        trial = plan.trials[left[order % len(left)]]
        levels = trial.trial.levels
        for stage in ("first", "second"):
            value = values[int(str(levels["second.x"]))][int(str(levels["seed"]))] if stage == "second" else 0.0
            outcomes[trial.nodes[stage]] = outcome(trial.nodes[stage], value)
            seeds.after(trial.nodes[stage])


@pytest.mark.parametrize("order", range(5))
def test_the_smallest_prefix_that_satisfies_the_rule_is_wanted_in_every_order(tmp_path: Path, order: int):
    plan = planned(tmp_path)
    outcomes: dict[str, Outcome] = {}
    seeds = Seeds(plan, outcomes)
    assert shown(plan, seeds.wanted) == {1: 2, 2: 2}
    finish(plan, seeds, outcomes, order)
    assert shown(plan, seeds.wanted) == {1: 5, 2: 2}
    records = rows(plan, outcomes, {})
    assert records.column("meta.seeds").to_pylist() == [5] * 5 + [2] * 2
    assert records.column("meta.seeds_why").to_pylist() == (
        ["at_most 5: standard error 0.632"] * 5 + ["standard error 0.25 <= 0.5"] * 2
    )
    assert set(records.column("status").to_pylist()) == {"done"}


def test_what_was_computed_beyond_the_prefix_is_no_row(tmp_path: Path):
    plan = planned(tmp_path)
    outcomes = {
        key: outcome(key, CLOSE[int(str(trial.trial.levels["seed"]))])
        for trial in plan.trials
        for key in trial.nodes.values()
    }
    assert rows(plan, outcomes, {}).num_rows == 4
    assert len(adaptive.wanted(plan, outcomes).trials) == 4


def test_a_failed_trial_ends_and_has_no_value_and_one_that_waits_decides_nothing(tmp_path: Path):
    plan = planned(tmp_path)
    mine = [trial for trial in plan.trials if trial.trial.levels["second.x"] == 2]
    failed = mine[0].nodes["first"]
    outcomes: dict[str, Outcome] = {}
    ended = {failed}
    seeds = Seeds(plan, outcomes, ended)
    assert shown(plan, seeds.wanted) == {1: 2, 2: 2}
    for seed, value in ((1, 3.0), (2, 3.5)):
        outcomes[mine[seed].nodes["second"]] = outcome(mine[seed].nodes["second"], value)
        seeds.after(mine[seed].nodes["second"])
    assert shown(plan, seeds.wanted) == {1: 2, 2: 3}
    found = rows(plan, outcomes, {failed: Failure(failed, "ValueError: no", "", {})})
    whys = found.column("meta.seeds_why").to_pylist()
    assert whys[-1] == "standard error 0.25 of 2 values <= 0.5"
    assert whys[0] == "not finished"


def test_a_diverged_trial_has_no_value(tmp_path: Path):
    plan = planned(tmp_path)
    outcomes: dict[str, Outcome] = {}
    for trial in plan.trials:
        if trial.trial.levels["second.x"] == 2:
            seed = int(str(trial.trial.levels["seed"]))
            key = trial.nodes["second"]
            outcomes[key] = outcome(key, 1.0 + seed / 2, "diverged" if seed == 1 else "done")
    assert shown(plan, Seeds(plan, outcomes).wanted)[2] == 3


def test_a_metric_that_no_trial_reports_asks_for_no_more_seeds(tmp_path: Path):
    """Such as one that is misspelt; one that is there and not finite is looked for to the last seed."""
    for metric, value, count, why in (
        ("vlaue", 1.0, 2, "no trial reports vlaue"),
        ("value", math.nan, 5, "at_most 5: too few values"),
    ):
        plan = planned(tmp_path, SWEEP.replace("metric: value", f"metric: {metric}"))
        outcomes: dict[str, Outcome] = {}
        seeds = Seeds(plan, outcomes)
        while left := [index for index in sorted(seeds.wanted) if plan.trials[index].nodes["second"] not in outcomes]:
            for key in plan.trials[left[0]].nodes.values():
                outcomes[key] = outcome(key, value)
                seeds.after(key)
        assert shown(plan, seeds.wanted) == {1: count, 2: count}
        assert {prefix.why for prefix in seeds.prefixes()} == {why}


def test_combinations_do_not_look_at_each_other(tmp_path: Path):
    plan = planned(tmp_path)
    for order in itertools.permutations(range(4), 2):
        outcomes: dict[str, Outcome] = {}
        seeds = Seeds(plan, outcomes)
        for index in order:
            key = plan.trials[index].nodes["second"]
            outcomes[key] = outcome(key, 1.0)
            seeds.after(key)
        assert shown(plan, seeds.wanted)[2] == 2


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{until: {metric: value, standard_error: 0.1%}, at_least: 1, at_most: 5}", "axes.seed.at_least: expected"),
        ("{until: {metric: value, standard_error: 0.1}, at_least: 3, at_most: 2}", "3 to 1,000, got the number 2"),
        ("{until: {metric: value, standard_error: 0}, at_least: 3, at_most: 5}", "expected a positive number"),
        ("{until: {metric: 3, standard_error: 1}, at_least: 3, at_most: 5}", "expected the name of a metric"),
        ("{until: {metrc: a, standard_error: 1}, at_least: 3, at_most: 5}", "did you mean 'metric'?"),
        ("{until: {metric: value, standard_error: 1}, at_least: 3}", "axes.seed.at_most: missing"),
    ],
)
def test_a_wrong_rule_says_where(tmp_path: Path, rule: str, words: str):
    with pytest.raises(SpecError, match=r"sweep\.yaml:8:") as refusal:
        planned(tmp_path, SWEEP[: SWEEP.index("  seed:")] + f"  seed: {rule}\n")
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("zip: [[second.x, seed]]\n", "zip.0: axis seed cannot be paired"),
        ("where: {seed: [0, 1]}\n", "where: axis seed cannot be selected"),
    ],
)
def test_nothing_else_chooses_seeds(tmp_path: Path, extra: str, words: str):
    rule = SWEEP.replace("at_most: 5", "at_most: 2")
    with pytest.raises(SpecError) as refusal:
        planned(tmp_path, rule + extra)
    assert words in str(refusal.value)
