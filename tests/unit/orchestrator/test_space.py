from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.space import Trial, apply_settings, trials
from orchestrator.spec import Stage, SweepSpec, read

STAGES = "name: s\nstages:\n  a: {workload: tests.toys.noop, x: 1, part: {name: one}}\n"


def spec(folder: Path, text: str) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(STAGES + text)
    return read(path)


def combinations(folder: Path, text: str) -> list[tuple[object, ...]]:
    return [tuple(trial.levels.values()) for trial in trials(spec(folder, text))]


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        trials(spec(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


def test_the_last_axis_is_the_fastest(tmp_path: Path) -> None:
    found = trials(spec(tmp_path, "axes:\n  kind: {u: {a.x: 2}, v: {}}\n  seed: [3, 1]\n"))
    assert found == (
        Trial({"kind": "u", "seed": 3}, {"a.x": 2}, 3),
        Trial({"kind": "u", "seed": 1}, {"a.x": 2}, 1),
        Trial({"kind": "v", "seed": 3}, {}, 3),
        Trial({"kind": "v", "seed": 1}, {}, 1),
    )


def test_the_seed_varies_where_it_stands(tmp_path: Path) -> None:
    assert combinations(tmp_path, "axes: {seed: 2, a.x: [5, 6]}\n") == [(0, 5), (0, 6), (1, 5), (1, 6)]


def test_without_axes_there_is_one_trial(tmp_path: Path) -> None:
    assert trials(spec(tmp_path, "")) == (Trial({}, {}, 0),)


def test_paired_axes_vary_together(tmp_path: Path) -> None:
    text = "axes: {a.x: [1, 2], k: {m: {}, n: {}}, a.note: [p, q]}\nzip: [[a.x, a.note]]\n"
    assert combinations(tmp_path, text) == [(1, "m", "p"), (1, "n", "p"), (2, "m", "q"), (2, "n", "q")]


def test_where_keeps_and_exclude_drops(tmp_path: Path) -> None:
    axes = "axes: {a.x: [1, 2, 3], k: {m: {}, n: {}}}\n"
    assert combinations(tmp_path, axes + "where: {a.x: [1, 3], k: m}\n") == [(1, "m"), (3, "m")]
    assert combinations(tmp_path, axes + "where: [{a.x: 1}, {a.x: 2, k: n}]\n") == [(1, "m"), (1, "n"), (2, "n")]
    assert combinations(tmp_path, axes + "exclude: [{a.x: 1}, {k: n}]\n") == [(2, "m"), (3, "m")]


def test_labels_are_told_apart_by_type(tmp_path: Path) -> None:
    assert combinations(tmp_path, "axes: {a.x: [1, true]}\nexclude: {a.x: true}\n") == [(1,)]


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "axes: {a.x: [1, 2]}\nexclude: {a.x: [1, 2]}\n")
    assert said == "sweep.yaml:5:1: exclude: `where` and `exclude` leave none of the 2 combinations"


def test_too_many_combinations_are_refused_before_they_are_made(tmp_path: Path) -> None:
    axes = "\n".join(f"  a.x{i}: {[*range(1000)]}" for i in range(3))
    assert refusal(tmp_path, f"axes:\n{axes}\n") == (
        "sweep.yaml:4:1: axes: 1000 x 1000 x 1000 = 1,000,000,000 combinations; at most 100,000"
    )


def test_two_axes_cannot_set_one_path(tmp_path: Path) -> None:
    said = refusal(tmp_path, "axes:\n  k: {m: {}, n: {a.x: 5}}\n  a.x: [1, 2]\n")
    assert said == (
        "sweep.yaml:6:3: axes.a.x: level 1 sets a.x; level n of axis k sets a.x: one path cannot be set by two axes"
    )
    said = refusal(tmp_path, "axes:\n  k: {m: {a.part: {name: two, size: 1}}}\n  l: {n: {a.part.size: 5}}\n")
    assert said.startswith("sweep.yaml:6:11: axes.l: level n sets a.part.size; level m of axis k sets a.part")


def test_levels_that_never_meet_may_set_one_path(tmp_path: Path) -> None:
    text = "axes: {k: {m: {}, n: {a.x: 5}}, l: {o: {}, p: {a.x: 6}}}\nexclude: {k: n, l: p}\n"
    assert len(combinations(tmp_path, text)) == 3


def test_a_level_may_refine_what_another_axis_sets_whole(tmp_path: Path) -> None:
    made = spec(tmp_path, "axes:\n  a.part.size: [5]\n  k: {m: {a.part: {name: two}}}\n")
    assert apply_settings(made.stages, trials(made)[0].settings)["a"]["part"] == {"name": "two", "size": 5}


def test_a_label_names_axes_by_their_last_part() -> None:
    trial = Trial({"start": "random", "a.lr": 5e-4, "b.lr": None, "a.nesterov": True, "seed": 3}, {}, 3)
    assert trial.label == "start=random a.lr=0.0005 b.lr=null nesterov=true seed=3"


def test_settings_are_applied_to_copies() -> None:
    stages = {"a": Stage("a", "w", {"data": {"name": "x"}, "list": ["p", {"name": "q", "e": 1}], "none": None})}
    settings = {"a.data.name": "y", "a.list.p.e": 2, "a.list.q.e": 3, "a.none.deep.er": 4, "a.whole": {"k": [1]}}
    assert apply_settings(stages, settings) == {
        "a": {
            "data": {"name": "y"},
            "list": [{"name": "p", "e": 2}, {"name": "q", "e": 3}],
            "none": {"deep": {"er": 4}},
            "whole": {"k": [1]},
        }
    }
    assert stages["a"].config == {"data": {"name": "x"}, "list": ["p", {"name": "q", "e": 1}], "none": None}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.x.deep", "a.x.deep: nothing can be set below x: it is the number 1"),
        ("a.list.pp.e", "a.list.pp.e: list has no entry named 'pp'; allowed: p, q, q; did you mean 'p'?"),
        ("a.list.q.e", "a.list.q.e: list has 2 entries named 'q'; a path can name only one"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, message: str) -> None:
    stages = {"a": Stage("a", "w", {"x": 1, "list": ["p", "q", "q"]})}
    with pytest.raises(SpecError) as caught:
        apply_settings(stages, {path: 1})
    assert str(caught.value) == message


def test_ten_thousand_trials_are_all_there(tmp_path: Path) -> None:
    found = trials(spec(tmp_path, f"axes: {{a.x: {[*range(100)]}, seed: 100}}\n"))
    assert len({tuple(trial.levels.values()) for trial in found}) == len(found) == 10_000
