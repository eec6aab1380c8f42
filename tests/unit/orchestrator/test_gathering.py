# ruff: noqa: E501  (a case a line)
"""`over: AXIS`: which nodes a stage gathers, what its key depends on, and that its results count once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import record
from orchestrator.errors import SpecError, SweepError
from orchestrator.plan import Plan
from orchestrator.plan import plan as make_plan
from orchestrator.planning.adaptive import Seeds
from orchestrator.store import Failure, Outcome
from orchestrator.sweepfile.check import read_checked
from orchestrator.tables import table
from workloads.measure import MeasureConfig, resolve
from workloads.measures.registry import MEASURES, measure

SWEEP = """\
name: gathers
stages:
  fit: {workload: tests.toys.gather, x: 3}
  all: {workload: tests.toys.gather, over: seed, from: fit}
axes:
  fit.x: [1, 2]
  seed: 3
tables:
  t: {rows: fit.x, values: [total]}
"""


def planned(folder: Path, text: str = SWEEP, limit: int | None = None, **overrides: Any) -> Plan:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return make_plan(read_checked(path, overrides.get("scale"), overrides.get("set", {})), folder, limit)


def refusal(folder: Path, text: str) -> list[str]:
    with pytest.raises(SweepError) as caught:
        planned(folder, text)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def gathering(plan: Plan, stage: str = "all") -> list[str]:
    return list(dict.fromkeys(trial.nodes[stage] for trial in plan.trials))


def levels(plan: Plan, key: str) -> dict[str, dict[str, Any]]:
    """What of the axes the inputs of a node have, by role."""
    of_node = {trial.nodes["fit"]: dict(trial.trial.levels) for trial in plan.trials}
    return {role: of_node[ref.key] for role, ref in plan.nodes[key].inputs.items()}


def test_the_trials_that_agree_on_every_other_axis_share_one_node(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    first, second = gathering(plan)
    assert [trial.nodes["all"] for trial in plan.trials] == [first] * 3 + [second] * 3
    assert levels(plan, second) == {f"input.{seed}": {"fit.x": 2, "seed": seed} for seed in range(3)}
    assert (plan.nodes[first].seed, plan.nodes[first].config["from"]) == (0, "input")
    assert plan.trials[0].targets == ("all",)
    assert [*plan.nodes].index(first) > max([*plan.nodes].index(ref.key) for ref in plan.nodes[first].inputs.values())


def test_uses_count_the_trials_that_reach_a_node_through_a_gathering_stage(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.uses(plan.trials[4].nodes["fit"]) == [3, 4, 5] == plan.uses(plan.trials[3].nodes["all"])


def test_a_limit_leaves_the_nodes_as_they_are(tmp_path: Path) -> None:
    whole, limited = planned(tmp_path), planned(tmp_path, limit=1)
    assert gathering(limited) == gathering(whole)[:1]
    assert len(limited.nodes) == 4
    assert limited.nodes == {key: whole.nodes[key] for key in limited.nodes}
    assert limited.trials == whole.trials[:1]
    assert [limited.uses(key) for key in limited.nodes] == [[0]] * 4


def test_the_key_depends_on_the_levels_that_are_left_and_their_order_in_the_axis(tmp_path: Path) -> None:
    key = gathering(planned(tmp_path))[0]
    assert (
        gathering(planned(tmp_path, SWEEP.replace("  fit.x: [1, 2]\n  seed: 3", "  seed: 3\n  fit.x: [1, 2]")))[0]
        == key
    )
    assert gathering(planned(tmp_path, SWEEP.replace("all:", "other:").replace("gathers", "g")), "other")[0] == key
    assert gathering(planned(tmp_path, SWEEP.replace("seed: 3", "seed: 4")))[0] != key
    fewer = planned(tmp_path, SWEEP.replace("tables:", "exclude: {seed: 1}\ntables:"))
    assert [*levels(fewer, gathering(fewer)[0]).values()] == [{"fit.x": 1, "seed": 0}, {"fit.x": 1, "seed": 2}]
    turned = planned(tmp_path, SWEEP.replace("seed: 3", "seed: [2, 1, 0]"))
    assert levels(turned, gathering(turned)[0])["input.0"] == {"fit.x": 1, "seed": 2}


def test_over_another_axis_the_seed_is_the_trials(tmp_path: Path) -> None:
    plan = planned(tmp_path, SWEEP.replace("over: seed", "over: fit.x"))
    assert len(gathering(plan)) == 3
    for trial in plan.trials:
        seed = trial.trial.seed
        node = plan.nodes[trial.nodes["all"]]
        assert node.seed == seed
        assert levels(plan, node.key) == {f"input.{place}": {"fit.x": place + 1, "seed": seed} for place in (0, 1)}


def test_what_is_paired_with_the_axis_varies_with_it(tmp_path: Path) -> None:
    text = SWEEP.replace("fit.x: [1, 2]", "fit.x: [1, 2, 5]").replace("tables:", "zip: [fit.x, seed]\ntables:")
    for over in ("seed", "fit.x"):
        plan = planned(tmp_path, text.replace("over: seed", f"over: {over}"))
        [key] = gathering(plan)
        assert [*levels(plan, key).values()] == [{"fit.x": x, "seed": seed} for x, seed in ((1, 0), (2, 1), (5, 2))]
        assert plan.nodes[key].seed == 0


def test_an_overlay_may_fix_the_axis(tmp_path: Path) -> None:
    plan = planned(tmp_path, SWEEP.replace("over: seed", "over: fit.x"), set={"fit.x": 2, "seed": 1})
    assert levels(plan, gathering(plan)[0]) == {"input.0": {"fit.x": 2, "seed": 0}}


def test_every_role_is_gathered_and_stages_may_gather_what_was_gathered(tmp_path: Path) -> None:
    text = """\
name: twice
stages:
  a: {workload: tests.toys.gather}
  b: {workload: tests.toys.gather, x: 7}
  seeds: {workload: tests.toys.gather, over: seed, from: {one: a, two: b.start}}
  all: {workload: tests.toys.gather, over: a.x, from: seeds}
axes: {a.x: [1, 2], seed: 2}
"""
    plan = planned(tmp_path, text)
    assert sorted(plan.nodes[plan.trials[0].nodes["seeds"]].inputs) == ["one.0", "one.1", "two.0", "two.1"]
    assert plan.nodes[plan.trials[0].nodes["seeds"]].inputs["two.0"].part == "start"
    [key] = gathering(plan)
    assert len(plan.nodes[key].inputs) == 2
    assert all(plan.uses(key) == [0, 1, 2, 3] for key in plan.nodes)


def done(plan: Plan, *without: str) -> dict[str, Outcome]:
    """Outcomes of all nodes but some; a fit takes 3 seconds, a gathering node 1."""
    return {
        key: Outcome(key, "toy", "done", {"total": float(place)}, {}, 0, None, 3.0 if node.stage == "fit" else 1.0, {}, {})
        for place, (key, node) in enumerate(plan.nodes.items())
        if key not in without
    }  # fmt: skip


def test_what_it_reports_counts_once(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    rows = record.rows(plan, done(plan), {})
    assert rows["metric.total"].to_pylist() == [3.0, None, None, 7.0, None, None]
    assert rows["status"].to_pylist() == ["done"] * 6
    assert rows["meta.node.all"].to_pylist() == [trial.nodes["all"] for trial in plan.trials]
    assert sum(rows["meta.seconds"].to_pylist()) == pytest.approx(6 * 3 + 2 * 1)
    made = table(plan.spec.tables["t"], rows, tmp_path)
    assert [(cell.mean, cell.n, cell.remark) for (cell,) in made.cells] == [(3, 1, ""), (7, 1, "")]


def test_what_fails_is_said_in_every_row_that_needs_it(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    broken, gone = plan.trials[1].nodes["fit"], plan.trials[1].nodes["all"]
    failures = {broken: Failure(broken, "Oh: no", "", {})}
    rows = record.rows(plan, done(plan, broken, gone), failures)
    assert rows["status"].to_pylist() == ["skipped"] * 3 + ["done"] * 3
    assert rows["error"].to_pylist() == ["its input failed: fit: Oh: no"] * 3 + [None] * 3
    assert table(plan.spec.tables["t"], rows, tmp_path).cells[0][0].remark == "3 failed of 3 trials"


def test_a_stage_behind_one_that_gathers_is_gathered_too(tmp_path: Path) -> None:
    behind = "  see: {workload: tests.toys.gather, from: all}\n  also: {workload: tests.toys.gather, from: {a: all, b: fit}}\n"
    text = SWEEP.replace("axes:", f"{behind}axes:\n  way: {{one: {{}}, two: {{also.x: 1}}}}")
    plan = planned(tmp_path, text)
    assert len(plan.trials) == 12
    assert len(gathering(plan, "see")) == 2, "the levels of `way` share it, as they would any other node"
    assert len(gathering(plan, "also")) == 12
    assert {plan.nodes[key].seed for key in gathering(plan, "see")} == {0}
    assert plan.trials[0].gathered == {"all": frozenset({"seed"}), "see": frozenset({"seed"})}
    reports = {
        key: Outcome(key, "toy", "done", {node.stage: 1.0}, {}, 0, None, 1.0, {}, {})
        for key, node in plan.nodes.items()
    }
    rows = record.rows(plan, reports, {})
    assert rows["metric.see"].to_pylist() == [1.0, None, None] * 4, "once for each level of `way`"
    assert rows["metric.also"].to_pylist() == [1.0] * 12


def test_adaptive_seeds_may_gather_over_another_axis(tmp_path: Path) -> None:
    rule = "{until: {metric: total, standard_error: 0.1}, at_least: 2, at_most: 4}"
    text = SWEEP.replace("seed: 3", f"seed: {rule}").replace("over: seed", "over: fit.x")
    plan = planned(tmp_path, text)
    seeds = Seeds(plan, {})
    wanted = seeds.plan_of_wanted()
    assert len(wanted.trials) == 4
    assert len(wanted.nodes) == 6


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("over: seed", "over: sead", "4:38: stages.all.over: no axis 'sead'; allowed: fit.x, seed; did you mean 'seed'?"),
        ("over: seed", "over: [seed]", "4:38: stages.all.over: expected the name of an axis, got a list"),
        ("over: seed, from: fit", "over: seed",
         "4:38: stages.all.over: gathers what the stage starts from: it starts from none"),
        ("  fit.x: [1, 2]", "  all.x: [1, 2]\n  fit.x: [1, 2]", None),
        ("over: seed, from: fit}\naxes:", "over: all.x, from: fit}\naxes:\n  all.x: [1, 2]",
         "6:3: axes.all.x: sets all.x, but stage all gathers over all.x: it has no level of it"),
        ("over: seed, from: fit}\naxes:", "over: way, from: fit}\naxes:\n  way: {one: {}, two: {all.x: 3}}",
         "6:24: axes.way.two.all.x: sets all.x, but stage all gathers over way: it has no level of it"),
        ("over: seed, from: fit}\naxes:", "over: seed, from: fit}\nzip: [all.x, seed]\naxes:\n  all.x: [1, 2, 3]",
         "7:3: axes.all.x: sets all.x, but stage all gathers over seed, with which axis all.x is paired: it has no level of it"),
        ("seed: 3", "seed: {until: {metric: total, standard_error: 1}, at_least: 2, at_most: 3}",
         "4:38: stages.all.over: a stage cannot gather over seed: its `until` decides which seeds there are"),
    ],
)  # fmt: skip
def test_what_cannot_be_gathered_is_refused(tmp_path: Path, old: str, new: str, said: str | None) -> None:
    assert SWEEP.count(old) == 1
    text = SWEEP.replace(old, new)
    if said is None:
        assert len(gathering(planned(tmp_path, text))) == 4
    else:
        assert refusal(tmp_path, text) == [f"sweep.yaml:{said}"]


def test_a_training_gathers_nothing(tmp_path: Path) -> None:
    text = """\
name: t
stages:
  fit: &fit {workload: train, data: {name: digits}, model: {name: mlp}, optimizer: {name: sgd, lr: 1}, stop: {epochs: 1}}
  on: {workload: train, over: seed, start: {from: fit}, data: {name: digits}, optimizer: {name: sgd, lr: 1}, stop: {epochs: 1}}
axes: {seed: 2}
"""
    assert refusal(tmp_path, text) == [
        "sweep.yaml:4:25: stages.on.over: a training starts from one network; it cannot gather several (trial seed=0)"
    ]


@pytest.fixture
def spread() -> Iterator[str]:
    """A measure of all networks that a stage gathers."""

    @measure(source="test", unit="1", convention="none")
    def spread_of_all(*snapshots: Any) -> float:
        return float(len(snapshots))

    yield "spread_of_all"
    del MEASURES["spread_of_all"]


def test_a_measure_may_gather_and_takes_the_data_that_all_inputs_agree_on(tmp_path: Path, spread: str) -> None:
    text = f"""\
name: t
stages:
  fit: {{workload: train, data: {{name: digits}}, model: {{name: mlp}}, optimizer: {{name: sgd, lr: 1}}, stop: {{epochs: 1}}}}
  see: {{workload: measure, over: seed, from: fit, measures: [{spread}]}}
axes: {{fit.optimizer.lr: [1, 2], seed: 11}}
"""
    plan = planned(tmp_path, text)
    node = plan.nodes[plan.trials[0].nodes[f"see.{spread}"]]
    assert (len(node.inputs), node.config["data"]["name"]) == (11, "digits")
    assert len({trial.nodes[f"see.{spread}"] for trial in plan.trials}) == 2
    entry = MeasureConfig.model_validate_json(f'{{"from": "input", "measures": ["{spread}"]}}').measures[0]
    assert entry.roles_of(sorted(node.inputs)) == tuple(f"input.{place}" for place in range(11))
    said = refusal(
        tmp_path,
        text.replace("fit.optimizer.lr: [1, 2]", "fit.data.subset: [50, 60]").replace(
            "over: seed", "over: fit.data.subset"
        ),
    )
    assert said == [
        "sweep.yaml:4:3: stages.see.data: missing, and the stages it compares train on different data (trial subset=50 seed=0)"
    ]
    said = refusal(tmp_path, text.replace(f"[{spread}]", "[test_accuracy]"))
    assert said == [
        f"sweep.yaml:4:{text.splitlines()[3].index('from') + 1}: stages.see.from: test_accuracy wants `from: STAGE`;"
        f" it has {', '.join(f'input.{place}' for place in range(11))} (trial lr=1 seed=0)"
    ]
    assert resolve is not None


# Time limits: beside what a stage computes, so in no key.

TIMED = """\
name: timed
stages:
  a: {workload: tests.toys.noop, time_limit: 90s}
  b: {workload: tests.toys.noop, from: a, time_limit: 0.5h}
  c: {workload: tests.toys.noop, from: a}
axes: {a.x: [1, 2]}
scales: {slow: {"*.time_limit": 1d, b.time_limit: 10 min}, free: {a.time_limit: null}}
"""


def limits(plan: Plan) -> list[float | None]:
    return [node.time_limit for node in plan.nodes.values()][:2]


def test_a_time_limit_is_seconds_and_in_no_key(tmp_path: Path) -> None:
    plan = planned(tmp_path, TIMED)
    assert limits(plan) == [90, None], "a node that stages share has the longest limit, and none is longest"
    assert limits(planned(tmp_path, TIMED.replace("from: a}", "from: a, time_limit: 0.75h}"))) == [90, 2700]
    free = planned(tmp_path, TIMED.replace("time_limit: 90s", "x: 0").replace(", time_limit: 0.5h", ""))
    assert [*free.nodes] == [*plan.nodes]


def test_overlays_set_time_limits(tmp_path: Path) -> None:
    assert limits(planned(tmp_path, TIMED, scale="slow")) == [86400, 86400]
    assert limits(planned(tmp_path, TIMED, set={"c.time_limit": 1})) == [90, 1800]
    assert limits(planned(tmp_path, TIMED, scale="free")) == [None, None]


@pytest.mark.parametrize(
    "text", ["0", "-1", "0s", "90m", "1h30min", ".nan", "yes", "[90s]", "'90 seconds'", "1:30", "1e12", "s"]
)
def test_what_is_no_time_limit_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, TIMED.replace("90s", text))
    assert str(caught.value).count("\n") == 0
    assert "sweep.yaml:3:34: stages.a.time_limit: expected a positive number of seconds, or text such as 90s" in str(
        caught.value
    ) or ("3:46" in str(caught.value) and text == ".nan")
    assert ("did you mean '90min'?" in str(caught.value)) == (text == "90m")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a.x: [1, 2]", "a.time_limit: [1, 2]",
         "6:8: axes.a.time_limit: `time_limit` cannot vary; state it in the stage or in an overlay"),
        ("10 min", "10 mn", "7:37: scales.slow.b.time_limit: expected a positive number of seconds, or text such as 90s, "
         "30min, 2h or 1d, got the text '10 mn'; did you mean '10min'?"),
    ],
)  # fmt: skip
def test_a_time_limit_elsewhere_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, TIMED.replace(old, new), scale="slow")
    assert str(caught.value).replace(f"{tmp_path}/", "") == f"sweep.yaml:{said}"
