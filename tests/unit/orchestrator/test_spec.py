# ruff: noqa: E501  (a case a line)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec import SweepSpec, parse_set, read
from orchestrator.sweepfile.axes import Level
from orchestrator.sweepfile.comparisons import ClaimSpec, Compare, TableSpec

GOOD = """\
name: sweep-1
title: A title
source: {paper: p}
stages:
  fit: {workload: tests.toys.parts, data: {name: cifar10, labels: random}, model: {name: mlp, width: 8}, stop: {epochs: 9}}
  go_on: {workload: tests.toys.parts, from: fit, data: {name: cifar10}}
  see: {workload: tests.toys.parts, from: go_on, measures: [norm, fgsm]}
  toy: {workload: tests.toys.noop}
axes:
  start:
    random: {go_on.start: {init: default}}
    adversarial: {}
  go_on.model.width: [1, 2]
  seed: 3
tables:
  t: {rows: [start], columns: seed, values: [width], statistic: mean_ci, title: T}
claims:
  c:
    says: Yes.
    metric: width
    where: {go_on.model.width: [1, 2], seed: 0}
    compare: {axis: start, high: random, low: adversarial}
    at_least: 0.15
  d: {says: Rises., metric: width, increasing: go_on.model.width}
scales:
  smoke: {"*.data.name": digits, "*.model": {name: mlp, width: 2}, "*.stop.epochs": 3, axes.start: adversarial, seed: 2}
  small: {go_on.model.width: 7, "*.threads": 2}
"""


def make(folder: Path, text: str, scale: str | None = None, **overrides: Any) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return read(path, scale, overrides.get("set", {}))


def refusal(folder: Path, text: str, scale: str | None = None, **overrides: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        make(folder, text, scale, **overrides)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def labels(spec: SweepSpec, axis: str) -> list[Any]:
    return [level.label for level in spec.axes[axis].levels]


def test_a_good_file_is_read_whole(tmp_path: Path) -> None:
    spec = make(tmp_path, GOOD)
    assert (spec.name, spec.title, spec.source, spec.scale) == ("sweep-1", "A title", {"paper": "p"}, None)
    assert [*spec.stages] == ["fit", "go_on", "see", "toy"]
    assert spec.stages["go_on"].workload == "tests.toys.parts"
    assert spec.stages["go_on"].config == {"from": "fit", "data": {"name": "cifar10"}}
    assert spec.axes["start"].levels == (
        Level("random", {"go_on.start": {"init": "default"}}),
        Level("adversarial", {}),
    )
    assert spec.axes["go_on.model.width"].levels[1] == Level(2, {"go_on.model.width": 2})
    assert labels(spec, "seed") == [0, 1, 2]
    assert spec.tables == {"t": TableSpec("t", ("width",), ("start",), ("seed",), "mean_ci", None, "T")}
    where = {"go_on.model.width": (1, 2), "seed": 0}
    compare = Compare("start", "random", "adversarial")
    assert spec.claims["c"] == ClaimSpec("c", "Yes.", "width", where, compare, at_least=0.15)
    assert spec.claims["d"].increasing == "go_on.model.width"


def test_the_place_of_everything_is_known(tmp_path: Path) -> None:
    spec = make(tmp_path, GOOD, "smoke", set={"go_on.model.width": [5]})
    assert str(spec.where_is("stages", "go_on", "from")).endswith("sweep.yaml:6:39")
    assert str(spec.where_is("stages", "fit", "data", "name")).endswith("sweep.yaml:26:11")
    assert str(spec.where_is("stages", "fit", "model", "width")).endswith("sweep.yaml:26:57")
    assert str(spec.where_is("axes", "seed")).endswith("sweep.yaml:26:113")
    assert str(spec.where_is("axes", "start", "adversarial")).endswith("sweep.yaml:12:5")
    assert spec.where_is("axes", "go_on.model.width", 0) is None


# Overlays


def test_a_scale_sets_only_what_stages_state(tmp_path: Path) -> None:
    spec = make(
        tmp_path,
        GOOD.replace("  go_on.model.width: [1, 2]\n", "").split("tables:")[0] + GOOD[GOOD.index("scales:") :],
        "smoke",
    )
    assert spec.stages["fit"].config == {
        "data": {"name": "digits", "labels": "random"},
        "model": {"name": "mlp", "width": 2},
        "stop": {"epochs": 3},
    }
    assert spec.stages["go_on"].config == {"from": "fit", "data": {"name": "digits"}}
    assert spec.stages["see"].config == {"from": "go_on", "measures": ["norm", "fgsm"]}
    assert spec.stages["toy"].config == {}
    assert labels(spec, "start") == ["adversarial"]
    assert labels(spec, "seed") == [0, 1]


def test_a_plain_field_is_set_wherever_the_workload_has_it(tmp_path: Path) -> None:
    spec = make(tmp_path, GOOD, "small")
    assert [stage.config.get("threads") for stage in spec.stages.values()] == [2, 2, 2, None]
    assert labels(spec, "go_on.model.width") == [7]
    assert spec.axes["go_on.model.width"].levels[0].settings == {"go_on.model.width": 7}


def test_set_comes_after_the_scale_and_the_narrow_after_the_wide(tmp_path: Path) -> None:
    spec = make(
        tmp_path, GOOD, "smoke", set={"fit.stop.epochs": 1, "*.stop.epochs": 2, "seed": [4, 7], "start": "random"}
    )
    assert spec.stages["fit"].config["stop"] == {"epochs": 1}
    assert labels(spec, "seed") == [4, 7]
    assert labels(spec, "start") == ["random"]


def test_set_reaches_an_entry_of_a_list(tmp_path: Path) -> None:
    spec = make(tmp_path, GOOD, set={"see.measures.fgsm.epsilon": 0.5})
    assert spec.stages["see"].config["measures"] == ["norm", {"name": "fgsm", "epsilon": 0.5}]


def test_an_axis_can_be_replaced_whole_or_picked_from(tmp_path: Path) -> None:
    spec = make(tmp_path, GOOD, set={"start": ["adversarial", "random"], "axes.go_on.model.width": [3, 4, 5]})
    assert labels(spec, "start") == ["adversarial", "random"]
    assert labels(spec, "go_on.model.width") == [3, 4, 5]
    spec = make(tmp_path, GOOD.split("tables:")[0], set={"axes.start": {"new": {"fit.model.width": 3}}})
    assert spec.axes["start"].levels == (Level("new", {"fit.model.width": 3}),)


def test_seeds_can_be_set_where_the_file_has_none(tmp_path: Path) -> None:
    assert labels(make(tmp_path, GOOD.split("axes:")[0], set={"seed": 2}), "seed") == [0, 1]


def test_the_paper_scale_is_the_file_as_it_stands(tmp_path: Path) -> None:
    assert make(tmp_path, GOOD, "paper").stages == make(tmp_path, GOOD).stages


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"axes.strat": "x"}, "--set axes.strat: no axis 'strat'; allowed: start, go_on.model.width, seed; did you mean 'start'?"),
        ({"start": "rndom"}, "--set start: the text 'rndom' is no level of axis start; allowed: random, adversarial; did you"),
        ({"start": []}, "--set start: an axis needs at least one level"),
        ({"go_no.x": 1}, "--set go_no.x: names no axis and no path of a stage; allowed: start, go_on.model.width, seed, fit"),
        ({"*.thread": 1}, "--set *.thread: no stage's workload has that field; allowed: data"),
        ({"*.stop.epoch": 1}, "--set *.stop.epoch: no stage's workload has that field"),
        ({"*.milestones.x": 1}, "--set *.milestones.x: no stage's workload has that field"),
        ({"fit.workload": "train"}, "--set fit.workload: `workload` of a stage cannot be replaced"),
        ({"fit.stop.epochs.x": 1}, "--set fit.stop.epochs.x: nothing can be set below stop.epochs: it is the number 9"),
        ({"see.measures.fgms.epsilon": 1}, "--set see.measures.fgms.epsilon: measures has no entry named 'fgms'; allowed: norm, fgsm"),
        ({"go_on.start.init": "default"}, "--set go_on.start.init: sets go_on.start.init, which axis start sets too; replace the axis"),
        ({"go_on.model": {"name": "mlp", "width": 3}}, "--set go_on.model: sets go_on.model, which axis go_on.model.width sets too"),
        ({"seed": 1, "axes.seed": 2}, "--set axes.seed: replaces axis seed again; --set seed does so too"),
    ],
)  # fmt: skip
def test_an_overlay_that_cannot_be_applied_is_refused(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    said = refusal(tmp_path, GOOD, set=overrides)
    assert len(said) == 1
    assert message in said[0]


def test_an_overlay_may_set_what_an_axis_refines(tmp_path: Path) -> None:
    assert make(tmp_path, GOOD, set={"go_on.model": {"name": "mlp"}}).stages["go_on"].config["model"] == {"name": "mlp"}


def test_a_wildcard_for_a_part_that_no_stage_states_is_refused(tmp_path: Path) -> None:
    text = "name: s\nstages:\n  a: {workload: tests.toys.parts}\nscales:\n  x: {'*.model.width': 3}\n"
    assert refusal(tmp_path, text, "x") == ["sweep.yaml:5:7: scales.x.*.model.width: no stage states model"]


def test_an_unknown_scale_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, GOOD, "smok")
    assert said == ["sweep.yaml:25:1: scales: no scale 'smok'; allowed: smoke, small, paper; did you mean 'smoke'?"]


def test_a_level_that_only_the_overlay_drops_may_be_named(tmp_path: Path) -> None:
    spec = make(tmp_path, GOOD, set={"start": "random", "seed": [8], "go_on.model.width": 9})
    assert spec.claims["c"].compare == Compare("start", "random", "adversarial")


def test_the_record_is_named_by_scale_and_overrides(tmp_path: Path) -> None:
    assert make(tmp_path, GOOD).record_name == make(tmp_path, GOOD, "paper").record_name == "sweep-1"
    assert make(tmp_path, GOOD, "small").record_name == "sweep-1@small"
    first = make(tmp_path, GOOD, "small", set={"seed": 2, "start": "random"}).record_name
    again = make(tmp_path, GOOD, "small", set={"start": "random", "seed": 2}).record_name
    assert first == again == "sweep-1@small-2bcff4a9"
    assert make(tmp_path, GOOD, set={"seed": 2}).record_name.startswith("sweep-1-")


def test_set_is_read_as_in_a_file() -> None:
    assert parse_set("a.b={name: mlp, lr: 5e-3}") == ("a.b", {"name": "mlp", "lr": 0.005})
    assert parse_set("a.b=on") == ("a.b", "on")
    assert parse_set("a.b=x=y") == ("a.b", "x=y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "--set: expected PATH=VALUE, got 'seed'"),
        ("=3", "--set: expected PATH=VALUE, got '=3'"),
        ("a.b={x", "--set a.b:1:"),
        ("a.b=.nan", "--set a.b:1:1: .nan is not a finite number"),
        ("axes.a={1: {}, b: {}}", "--set axes.a: expected text as a name, got the number 1; quote it"),
        ("axes.a={null: {}}", "--set axes.a: expected text as a name, got nothing (null); quote it"),
    ],
)
def test_a_malformed_set_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_set(text)
    assert str(caught.value).startswith(message)


# What is wrong with a file


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: sweep-1", "nam: sweep-1", "1:1: nam: unknown field; allowed: name, extends, title"),
        ("name: sweep-1\n", "", "1:1: name: missing; it is required"),
        ("name: sweep-1", "name: ../../etc", "1:1: name: the text '../../etc' cannot be a name"),
        ("name: sweep-1", "name: 5", "1:1: name: the number 5 cannot be a name"),
        ("title: A title", "title: [A]", "2:1: title: expected text, got a list"),
        ("title: A title", "extends: nowhere.yaml", "2:1: extends: nowhere.yaml: no such file"),
        ("  toy: {workload: tests.toys.noop}", "  toy: {x: 1}", "8:3: stages.toy.workload: missing; it is required: train, measure or package.module"),
        ("  toy: {workload: tests.toys.noop}", "  toy: [1]", "8:3: stages.toy: expected a mapping, got a list"),
        ("  toy: {", "  t.oy: {", "8:3: stages.t.oy: a stage's name is letters, digits"),
        ("  toy: {workload: tests.toys.noop}", "  toy: {workload: tests.toys.noop, over: 3}", "8:36: stages.toy.over: expected the name of an axis"),
        ("  toy: {workload: tests.toys.noop}", "  toy: {workload: tests.toys.noop, 3: 4}", "8:36: stages.toy.3: expected text as a field's name, got the number 3"),
        ("    adversarial: {}", "    random: {}", "12:5: axes.start.random: duplicate key; it is already in line 11, column 5"),
        ("    adversarial: {}", "    adversarial: 3", "12:5: axes.start.adversarial: expected a mapping, got the number 3"),
        ("random: {go_on.", "random: {go_no.", "11:14: axes.start.random.go_no.start: 'go_no.start' begins with no stage; allowed: fit, go_on, see, toy; did you mean 'go_on'?"),
        ("random: {go_on.start", "random: {go_on", "11:14: axes.start.random.go_on: 'go_on' names a stage, not a field of it"),
        ("random: {go_on.start", "random: {go_on.workload", "11:14: axes.start.random.go_on.workload: `workload` cannot vary"),
        ("random: {go_on.start", "random: {go_on..start", "11:14: axes.start.random.go_on..start: the text 'go_on..start' is no dotted path"),
        ("model.width: [1, 2]\n", "model.width: []\n", "13:3: axes.go_on.model.width: an axis needs at least one level"),
        ("model.width: [1, 2]\n", "model.width: 1\n", "13:3: axes.go_on.model.width: an axis with a dotted path takes a list of values, got the number 1"),
        ("model.width: [1, 2]\n", "model.width: [1, 2, 1]\n", "13:29: axes.go_on.model.width.2: duplicate level the number 1: entry 3 is entry 1 again"),
        ("model.width: [1, 2]\n", "model.width: [1, 2, 1.0]\n", "13:29: axes.go_on.model.width.2: duplicate level the number 1.0"),
        ("model.width: [1, 2]\n", "model.width: [1, {a: 2}]\n", "13:26: axes.go_on.model.width.1: a mapping is no plain value; name such levels: `axes: {NAME: {LEVEL: {go_on.model.width: ...}}}`"),
        ("  go_on.model.width: [1, 2]", "  epochs: [1, 2]", "13:3: axes.epochs: expected levels, each with what it sets, got a list; a list of values needs a dotted path STAGE.FIELD as the axis' name; did you mean 'fit.stop.epochs'?"),
        ("  go_on.model.width: [1, 2]", "  a b: {c: {}}", "13:3: axes.a b: an axis is named by letters"),
        ("  seed: 3", "  seed: 0", "14:3: axes.seed: 0 seeds; allowed: 1 to 100,000"),
        ("  seed: 3", "  seed: 1000000000", "14:3: axes.seed: 1000000000 seeds; allowed: 1 to 100,000"),
        ("  seed: 3", "  seed: [0, -1]", "14:13: axes.seed.1: a seed is a whole number of at least 0, got the number -1"),
        ("  seed: 3", "  seed: [0, 2, 0]", "14:16: axes.seed.2: duplicate level the number 0: entry 3 is entry 1 again"),
        ("rows: [start]", "rows: [strat]", "16:7: tables.t.rows: no axis 'strat'; allowed: start, go_on.model.width, seed; did you mean 'start'?"),
        ("rows: [start]", "rows: [start, seed]", "16:28: tables.t.columns: axis 'seed' stands twice"),
        ("values: [width]", "values: []", "tables.t.values: a table needs at least one metric"),
        ("values: [width], ", "", "16:3: tables.t.values: missing; it is required"),
        ("mean_ci", "mean_sd", "tables.t.statistic: unknown statistic 'mean_sd'; allowed: mean_std, mean_se, mean_min_max, median_iqr, mean_ci; did you mean"),
        ("title: T", "paper: ../x.csv", "tables.t.paper: '../x.csv' must be a file beside this one"),
        ("title: T", "paper: t.csv", "tables.t.paper: no such file: t.csv (looked beside sweep.yaml)"),
        ("title: T", "best: most", "tables.t.best: "),
        ("title: T", "best: {loss: min}", "tables.t.best.loss: no value of this table; allowed: width"),
        ("title: T", "decimals: 99", "tables.t.decimals: must be 0 to 15, got 99"),
        ("title: T", "titel: T", "tables.t.titel: unknown field; allowed: values, rows, columns, statistic, paper, title, best, best_in, decimals; did you mean 'title'?"),
        ("  t: {rows", "  ../t: {rows", "16:3: tables.../t: the text '../t' cannot be a name"),
        ("at_least: 0.15", "at_least: high", "23:5: claims.c.at_least: expected a number, got the text 'high'"),
        ("    at_least: 0.15\n", "", "18:3: claims.c: compare needs at_least, at_most or both, or within; got none of them"),
        ("at_least: 0.15", "within: -1", "23:5: claims.c.within: must be more than 0, got -1"),
        ("at_least: 0.15", "at_least: 2\n    at_most: 1", "claims.c.at_most: must be more than at_least, 2"),
        ("    says: Yes.\n", "", "18:3: claims.c.says: missing; it is required"),
        ("where: {go_on.model.width: [1, 2]", "where: {go_on.model.width: [1, 3]", "21:36: claims.c.where.go_on.model.width.1: the number 3 is no level of axis go_on.model.width; allowed: 1, 2"),
        ("high: random", "high: rnd", "22:28: claims.c.compare.high: the text 'rnd' is no level of axis start; allowed: random, adversarial"),
        ("high: random", "high: adversarial", "22:47: claims.c.compare.low: high and low are the same level"),
        ("compare: {axis: start", "compare: {axis: startt", "22:15: claims.c.compare.axis: no axis 'startt'"),
        ("increasing: go_on.model.width", "increasing: width", "24:36: claims.d.increasing: no axis 'width'"),
        ("increasing: go_on.model.width", "where: {start: random}", "24:3: claims.d: a claim has one of compare, trend, contrast, increasing, decreasing, order, or a bound of the metric itself; got none of them"),
        ("increasing: go_on.model.width", "within: 3", "claims.d.within: a margin around no difference"),
        ("increasing: go_on.model.width", "increasing: go_on.model.width, at_most: 3", "claims.d.at_most: increasing takes no bound; compare, trend, contrast do"),
        ("increasing: go_on.model.width", "increasing: start, for_all: start", "claims.d.for_all.0: axis 'start' is the one that the claim compares along"),
        ("increasing: go_on.model.width", "increasing: start, for_all: [widht]", "claims.d.for_all.0: no axis 'widht'"),
        ("increasing: go_on.model.width", "increasing: start, for_most: {axis: seed}", "claims.d.for_most.axis: seeds are what a claim is tested over"),
        ("increasing: go_on.model.width", "increasing: start, for_most: {axis: go_on.model.width, share: 2}", "claims.d.for_most.share: must be more than 0 and at most 1, got 2"),
        ("increasing: go_on.model.width", "order: {axis: start, levels: [random, rnd]}", "claims.d.order.levels.1: the text 'rnd' is no level of axis start"),
        ("increasing: go_on.model.width", "order: {axis: start, levels: [random]}", "claims.d.order.levels: an order needs at least two levels"),
        ("increasing: go_on.model.width", "order: {axis: start, levels: [random, random]}", "claims.d.order.levels.1: 'random' stands twice"),
        ("increasing: go_on.model.width", "increasing: seed, decreasing: seed", "24:3: claims.d: a claim has one of compare, trend, contrast, increasing, decreasing, order, or a bound of the metric itself; got increasing and decreasing"),
        ("  small: {", "  5: {", "27:3: scales.5: the number 5 cannot be a name"),
        ("tables:", "zip: [[start, sed]]\ntables:", "15:15: zip.0.1: no axis 'sed'"),
        ("tables:", "zip: [start, seed]\ntables:", "15:1: zip: paired axes need equally many levels: start has 2, seed has 3"),
        ("tables:", "zip: [[start, start]]\ntables:", "15:7: zip.0: axis 'start' is paired twice"),
        ("tables:", "where: [{start: odd}]\ntables:", "15:10: where.0.start: the text 'odd' is no level of axis start"),
        ("tables:", "exclude: {}\ntables:", "15:1: exclude: an empty selection matches everything"),
    ],
)  # fmt: skip
def test_each_mistake_is_said_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    said = refusal(tmp_path, GOOD.replace(old, new))
    assert len([line for line in said if message in line and line.startswith("sweep.yaml:")]) == 1, said


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("title: A title", "titel: x").replace("  seed: 3", "  seed: -1").replace("mean_ci", "median")
    said = refusal(tmp_path, text)
    assert [line.split(": ")[1] for line in said if "seed" not in line or "axes" in line] == [
        "titel",
        "axes.seed",
        "tables.t.statistic",
    ]


def test_an_empty_sweep_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "name: s\nstages: {}\n") == ["sweep.yaml:2:1: stages: a sweep needs at least one stage"]
