# ruff: noqa: E501  (a case a line)
"""`extends`: what a file that builds on another one means, where its problems are said, and what the store keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.plan import plan
from orchestrator.spec import SweepSpec, read
from orchestrator.sweepfile.check import read_checked
from orchestrator.sweepfile.saving import saved_files
from orchestrator.sweepfile.yamlfile import parse_value
from orchestrator.sweepfile.yamltext import write

BASE = """\
name: base
title: The base
stages:
  fit: {workload: tests.toys.parts, data: {name: cifar10, zero_out: 0.5}, model: {name: mlp, width: 4}, milestones: [1, 2]}
  see: {workload: tests.toys.parts, from: fit, measures: [norm]}
axes:
  start: {cold: {}, warm: {fit.stop.epochs: 3}}
  seed: 3
tables:
  t: {rows: start, values: [width], paper: paper.csv}
scales:
  smoke: {fit.model.width: 2}
"""


def files(folder: Path, **texts: str) -> Path:
    """The files of a folder, `base/base.yaml` and its published values too; returns the folder."""
    (folder / "base").mkdir()
    (folder / "base" / "base.yaml").write_text(BASE)
    (folder / "base" / "paper.csv").write_text("start,metric,value\ncold,width,4\n")
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def refusal(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read_checked(path, None, {})
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def meaning(spec: SweepSpec) -> tuple[object, ...]:
    """All that a spec says, without where its files lie."""
    tables = [(name, table.rows, table.values) for name, table in spec.tables.items()]
    return spec.name, spec.title, spec.stages, spec.axes, tables, spec.claims, spec.scale, spec.document.value


def test_mappings_merge_and_everything_else_is_replaced(tmp_path: Path) -> None:
    text = """\
name: mine
extends: base/base.yaml
stages:
  fit: {data: {zero_out: 0}, milestones: [7]}
axes: {start: {hot: {fit.stop.epochs: 9}}, seed: [4]}
"""
    spec = read_checked(files(tmp_path, mine=text) / "mine.yaml", "smoke", {})
    assert (spec.name, spec.title) == ("mine", "The base")
    assert spec.stages["fit"].config == {
        "data": {"name": "cifar10", "zero_out": 0},
        "model": {"name": "mlp", "width": 2},
        "milestones": [7],
    }
    assert [level.label for level in spec.axes["start"].levels] == ["cold", "warm", "hot"]
    assert [level.label for level in spec.axes["seed"].levels] == [4]
    assert [*spec.stages] == ["fit", "see"]


@pytest.mark.parametrize(
    ("over", "left"),
    [
        ("{name: cifar10, labels: random}", {"name": "cifar10", "zero_out": 0.5, "labels": "random"}),
        ("{labels: random}", {"name": "cifar10", "zero_out": 0.5, "labels": "random"}),
        ("{name: digits}", {"name": "digits"}),
        ("null", None),
    ],
)
def test_another_part_replaces_the_options_of_the_one_before(tmp_path: Path, over: str, left: object) -> None:
    text = f"name: mine\nextends: base/base.yaml\nstages: {{fit: {{data: {over}}}}}\n"
    assert read(files(tmp_path, mine=text) / "mine.yaml").stages["fit"].config["data"] == left


def test_another_workload_replaces_the_stage(tmp_path: Path) -> None:
    text = "name: mine\nextends: base/base.yaml\nstages: {fit: {workload: tests.toys.noop, x: 1}}\n"
    stage = read(files(tmp_path, mine=text) / "mine.yaml").stages["fit"]
    assert (stage.workload, stage.config) == ("tests.toys.noop", {"x": 1})


def test_a_chain_is_laid_over_link_by_link(tmp_path: Path) -> None:
    middle = "extends: base/base.yaml\ntitle: The middle\nstages: {fit: {model: {width: 5}}}\n"
    top = "name: top\nextends: middle.yaml\nstages: {fit: {model: {bias: false}}}\n"
    spec = read_checked(files(tmp_path, middle=middle, top=top) / "top.yaml", None, {})
    assert (spec.name, spec.title) == ("top", "The middle")
    assert spec.stages["fit"].config["model"] == {"name": "mlp", "width": 5, "bias": False}
    assert [path.name for path in spec.document.files] == ["top.yaml", "middle.yaml", "base.yaml"]


def test_every_problem_is_said_where_its_value_stands(tmp_path: Path) -> None:
    middle = "extends: base/base.yaml\nstages:\n  fit:\n    model: {width: wide}\n"
    top = "name: top\nextends: middle.yaml\nstages: {see: {measures: [nrm]}}\nclaims: {c: {says: x}}\n"
    folder = files(tmp_path, middle=middle, top=top)
    (folder / "base" / "base.yaml").write_text(BASE.replace("zero_out: 0.5", "zero_out: 5").replace("rows", "row"))
    said = refusal(folder / "top.yaml")
    places = [line.split(": ")[0:2] for line in said]
    assert places == [
        ["top.yaml:3:16", "stages.see.measures"],
        ["top.yaml:4:10", "claims.c.metric"],
        ["middle.yaml:4:13", "stages.fit.model.width"],
        ["base/base.yaml:4:59", "stages.fit.data.zero_out"],
        ["base/base.yaml:10:7", "tables.t.row"],
    ]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"a": "name: a\nextends: b.yaml\n", "b": "extends: c.yaml\n", "c": "extends: a.yaml\n"},
         "c.yaml:1:1: extends: files extend each other in a circle: a.yaml -> b.yaml -> c.yaml -> a.yaml"),
        ({"a": "name: a\nextends: ./a.yaml\n"}, "a.yaml:2:1: extends: files extend each other in a circle: a.yaml -> a.yaml"),
        ({"a": "name: a\nextends: base/bse.yaml\n"},
         "a.yaml:2:1: extends: base/bse.yaml: no such file; did you mean 'base/base.yaml'?"),
        ({"a": "name: a\nextends: base\n"}, "a.yaml:2:1: extends: base: is a folder; expected a YAML file"),
        ({"a": "name: a\nextends: [b.yaml]\n"}, "a.yaml:2:1: extends: expected the path of a sweep file, got a list"),
        ({"a": "extends: base/base.yaml\n"},
         "a.yaml:1:1: name: missing; a sweep that extends another says its own name, under which its records are kept"),
        ({"a": "name: a\nextends: b.yaml\n", "b": "title: [\n"},
         "b.yaml:1:9: no YAML: did not find expected node content (while parsing a flow node that begins in line 1)"),
        ({"a": f"name: a\nextends: {'x' * 300}.yaml\n"}, f"a.yaml:2:1: extends: {'x' * 300}.yaml: cannot be read: File name too long"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_refused(tmp_path: Path, texts: dict[str, str], said: str) -> None:
    assert refusal(files(tmp_path, **texts) / "a.yaml") == [said]


def test_a_chain_ends_somewhere(tmp_path: Path) -> None:
    for place in range(12):
        (tmp_path / f"f{place}.yaml").write_text(f"name: f{place}\nextends: f{place + 1}.yaml\n")
    assert refusal(tmp_path / "f0.yaml") == [
        "f9.yaml:2:1: extends: the 10th file in a chain of `extends`; at most 10 files"
    ]


def test_the_published_values_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    text = "name: mine\nextends: base/base.yaml\n"
    spec = read_checked(files(tmp_path, mine=text) / "mine.yaml", None, {})
    assert spec.papers == (str(tmp_path / "base" / "paper.csv"),)
    (tmp_path / "base" / "paper.csv").rename(tmp_path / "paper.csv")
    assert refusal(tmp_path / "mine.yaml") == [
        "base/base.yaml:10:37: tables.t.paper: no such file: paper.csv (looked beside base.yaml)"
    ]


def test_the_store_keeps_one_file_that_means_the_same(tmp_path: Path) -> None:
    text = "name: mine # mine\nextends: base/base.yaml\ntables: {u: {values: [width], paper: paper.csv}}\n"
    folder = files(tmp_path, mine=text)
    (folder / "paper.csv").write_text("metric,value\nwidth,8\n")
    spec = read_checked(folder / "mine.yaml", "smoke", {"seed": 1})
    kept = tmp_path / "kept"
    kept.mkdir()
    saved = saved_files(spec)
    for name, content in saved.items():
        (kept / name).write_bytes(content)
    assert sorted(saved) == [
        "2-paper.csv", "original-1-mine.yaml", "original-2-base.yaml", "paper.csv", "spec.yaml"
    ]  # fmt: skip
    assert saved["original-1-mine.yaml"] == text.encode()
    again = read_checked(kept / "spec.yaml", "smoke", {"seed": 1})
    assert meaning(again)[:-1] == meaning(spec)[:-1]
    assert {again.tables[name].paper: (kept / str(again.tables[name].paper)).read_text() for name in "tu"} == {
        "paper.csv": "start,metric,value\ncold,width,4\n",
        "2-paper.csv": "metric,value\nwidth,8\n",
    }
    assert plan(again, tmp_path).nodes == plan(spec, tmp_path).nodes


def test_a_file_that_extends_nothing_is_kept_as_it_is(tmp_path: Path) -> None:
    spec = read(files(tmp_path) / "base" / "base.yaml")
    assert {*saved_files(spec)} == {"spec.yaml", "paper.csv"}
    assert saved_files(spec)["spec.yaml"] == BASE.encode()


@pytest.mark.parametrize(
    "value",
    [
        {"a": {}, "b": [], "c": None, "d": True, "e": -1.5e-300, "f": 10**15, "g": 1e16, "h": [{"x": [{}]}, "y"]},
        {0: {"x": 1}, 0.5: 2, True: 3, None: 4, "0": 5, "0.5": 6, "true": 7, "null": 8, "~": 9, "": 10},
        {"on": "off", "a: b": "- c", "#": "'\"\\", "  x ": "\n\r\t\x7f\x85\u2028\ufeffé😀", "k" * 2000: "v"},
        {"train.model": "5e-3", "*": "*a", "&": "!!str", "?": "|", "x" * 50: {"y" * 1500: {"z": [1]}}},
    ],
)
def test_what_is_written_is_read_back(value: dict[object, object]) -> None:
    back = parse_value(write(value), "here")
    assert repr(back) == repr(value)


def test_what_is_kept_is_what_was_planned_though_the_files_have_changed_since(tmp_path: Path) -> None:
    """A sweep may wait for hours for those before it; what its store says of it is what `gc` goes by."""
    folder = files(tmp_path, mine="name: mine\nextends: base/base.yaml\n")
    alone, extended = read(folder / "base" / "base.yaml"), read(folder / "mine.yaml")
    before = saved_files(alone), saved_files(extended)
    (folder / "base" / "base.yaml").write_text("name: another\n")
    (folder / "mine.yaml").unlink()
    assert (saved_files(alone), saved_files(extended)) == before
