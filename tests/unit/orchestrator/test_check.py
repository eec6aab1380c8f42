# ruff: noqa: E501  (a case a line)
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec import read
from orchestrator.sweepfile.check import check

GOOD = """\
name: s
stages:
  fit:
    workload: tests.toys.parts
    data: {name: cifar10, labels: random}
    model: {name: mlp, width: 8}
    stop: {epochs: 9}
  go_on:
    workload: tests.toys.parts
    start: {from: fit}
    data: {name: digits}
  see:
    workload: tests.toys.parts
    from: go_on
    measures: [norm, {name: fgsm, epsilon: 2/255}]
  toy: {workload: tests.toys.noop}
axes:
  start:
    random: {go_on.start: {init: default}}
    trained: {}
  model:
    wide: {fit.model.width: 100}
    linear: {fit.model: {name: linear, scale: 2}}
    direct: {see.from: fit}
  see.measures.fgsm.epsilon: [0, 4/255]
  seed: 2
"""


def refusal(folder: Path, text: str, **overrides: Any) -> list[str]:
    path = folder / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        check(read(path, None, overrides))
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_a_good_sweep_passes(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD)
    check(read(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cifar10", "cifra10", "5:12: stages.fit.data.name: unknown data 'cifra10'; allowed: digits, cifar10; did you mean 'cifar10'?"),
        ("name: cifar10, labels", "labels", "5:5: stages.fit.data: `name` is missing; allowed: digits, cifar10"),
        ("data: {name: cifar10, labels: random}", "data: cifar10", "5:5: stages.fit.data: expected a mapping with `name` (digits, cifar10), got the text 'cifar10'"),
        ("labels: random", "labels: rndom", "5:27: stages.fit.data.labels: unknown labels 'rndom'; allowed: true, random; did you mean 'random'?"),
        ("labels: random", "labels: true", "5:27: stages.fit.data.labels: expected one of true, random, got true"),
        ("labels: random", "label: random", "5:27: stages.fit.data.label: unknown field; allowed: name, labels, augment, zero_out; did you mean 'labels'?"),
        ("labels: random", "zero_out: 1", "5:27: stages.fit.data.zero_out: must be less than 1, got the number 1"),
        ("labels: random", "zero_out: lots", "5:27: stages.fit.data.zero_out: expected a number, got the text 'lots'"),
        ("labels: random", "augment: null", "5:27: stages.fit.data.augment: expected text, got nothing (null)"),
        ("width: 8", "width: 8.5", "6:24: stages.fit.model.width: expected a whole number, got the number 8.5"),
        ("width: 8", "width: 0", "6:24: stages.fit.model.width: must be greater than 0, got the number 0"),
        ("width: 8", "bias: yes", "6:24: stages.fit.model.bias: expected true or false, got the text 'yes'"),
        ("epochs: 9", "epochs: -9", "7:12: stages.fit.stop.epochs: must be at least 0, got the number -9"),
        ("stop: {", "stpo: {", "7:5: stages.fit.stpo: unknown field; allowed: data, model, stop, start, milestones, measures, threads, from; did you mean 'stop'?"),
        ("stop: {epochs: 9}", "stop: 9", "7:5: stages.fit.stop: expected a mapping (epochs), got the number 9"),
        ("stop: {epochs: 9}", "milestones: [1, x]", "7:21: stages.fit.milestones.1: expected a whole number, got the text 'x'"),
        ("[norm, {", "[nrom, {", "15:5: stages.see.measures: unknown measure 'nrom'; allowed: fgsm, norm; did you mean 'norm'?"),
        ("epsilon: 2/255", "epsilom: 1", "15:35: stages.see.measures.1.epsilom: unknown field; allowed: name, epsilon; did you mean 'epsilon'?"),
        ("workload: tests.toys.noop", "workload: tests.toys.nop", "16:9: stages.toy.workload: no workload 'tests.toys.nop'"),
        ("workload: tests.toys.noop", "workload: trian", "16:9: stages.toy.workload: unknown workload 'trian'; allowed: train, measure, package.module; did you mean 'train'?"),
        ("workload: tests.toys.noop", "workload: ../x", "16:9: stages.toy.workload: unknown workload '../x'"),
        ("workload: tests.toys.noop", "workload: os.path", "16:9: stages.toy.workload: os.path: a workload needs a function `run"),
        ("workload: tests.toys.noop", "workload: tests.toys.noop, over: seed", "16:36: stages.toy.over: gathers what the stage starts from: it starts from none"),
        ("start: {from: fit}", "start: {from: fti}", "10:13: stages.go_on.start.from: no stage 'fti'; allowed: fit, go_on, see, toy; did you mean 'fit'?"),
        ("from: go_on", "from: {a: go_on, b: feet}", "14:22: stages.see.from.b: no stage 'feet'"),
        ("from: go_on", "from: 3", "14:5: stages.see.from: expected text or a mapping, got the number 3"),
        ("stop: {epochs: 9}", "from: see", "3:3: stages.fit: stages start from each other in a cycle: fit -> see -> fit"),
        ("stop: {epochs: 9}", "from: fit", "3:3: stages.fit: stages start from each other in a cycle: fit -> fit"),
        ("see.from: fit", "see.from: fut", "24:14: axes.model.direct.see.from: see.from: no stage 'fut'; allowed: fit"),
        ("{see.from: fit}", "{fit.from: see}", "24:14: axes.model.direct.fit.from: stages start from each other in a cycle: fit -> see -> go_on -> fit"),
        ("go_on.start: {init: default}", "go_on.strat: {init: default}", "19:14: axes.start.random.go_on.strat: stage go_on (workload tests.toys.parts): no field 'strat'; allowed: data, model"),
        ("fit.model.width: 100", "fit.model.witdh: 100", "22:12: axes.model.wide.fit.model.witdh: stage fit (workload tests.toys.parts): model has no field 'witdh'; allowed: name, width, bias, scale; did you mean 'width'?"),
        ("fit.model.width: 100", "fit.model.width.x: 100", "22:12: axes.model.wide.fit.model.width.x: stage fit (workload tests.toys.parts): model.width is a plain value; nothing can be set below it"),
        ("fit.model.width: 100", "fit.model.width: ten", "22:12: axes.model.wide.fit.model.width: fit.model.width: expected a whole number, got the text 'ten'"),
        ("fit.model.width: 100", "fit.model.scale: 1", "22:12: axes.model.wide.fit.model.scale: fit.model.scale: unknown field; allowed: name, width, bias"),
        ("linear, scale: 2", "linear, scale: no", "23:40: axes.model.linear.fit.model.scale: fit.model.scale: expected a number, got the text 'no'"),
        ("linear, scale: 2", "linear", "23:14: axes.model.linear.fit.model.scale: fit.model.scale: missing; it is required"),
        ("name: linear, scale", "name: liner, scale", "23:26: axes.model.linear.fit.model.name: fit.model.name: unknown model 'liner'; allowed: mlp, linear; did you mean 'linear'?"),
        ("[0, 4/255]", "[0, big]", "25:34: axes.see.measures.fgsm.epsilon.1: see.measures.fgsm.epsilon: expected a number, got the text 'big'"),
        ("see.measures.fgsm.epsilon:", "see.measures.fsgm.epsilon:", "25:3: axes.see.measures.fsgm.epsilon: stage see (workload tests.toys.parts): measures has no field 'fsgm'; allowed: fgsm, norm; did you mean 'fgsm'?"),
        ("[norm, {name: fgsm, epsilon: 2/255}]", "[norm]", "25:3: axes.see.measures.fgsm.epsilon: measures has no entry named 'fgsm'; allowed: norm"),
        ("seed: 2", "fit.model.width: [4]", "26:3: axes.fit.model.width: level 4 sets fit.model.width; level wide of axis model sets fit.model.width: one path"),
    ],
)  # fmt: skip
def test_each_mistake_is_said_where_it_was_written(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    said = refusal(tmp_path, GOOD.replace(old, new))
    assert len([line for line in said if line.startswith(f"sweep.yaml:{message}")]) == 1, said
    assert len(said) == 1, said


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, GOOD.replace("cifar10", "cifar").replace("epochs: 9", "epochs: x").replace("width: 100", "widht: 1")
    )
    assert [line.split(": ")[1] for line in said] == [
        "stages.fit.data.name",
        "stages.fit.stop.epochs",
        "axes.model.wide.fit.model.widht",
    ]


def test_a_mistake_of_an_overlay_is_said_of_the_overlay(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD, **{"fit.stop.epochs": "x"}) == [
        "--set fit.stop.epochs: fit.stop.epochs: expected a whole number, got the text 'x'"
    ]
    assert refusal(tmp_path, GOOD, **{"fit.stop.epoch": 3})[0] == (
        "--set fit.stop.epoch: stage fit (workload tests.toys.parts): stop has no field 'epoch'; allowed: epochs; did you mean 'epochs'?"
    )
    assert refusal(tmp_path, GOOD, **{"see.measures.fgsm.epsilon": ["x"]}) == [
        "--set see.measures.fgsm.epsilon.0: see.measures.fgsm.epsilon: expected a number, got the text 'x'"
    ]


@pytest.mark.parametrize(
    ("module", "text", "error"),
    [
        ("divides", "1 / 0\n", "ZeroDivisionError: division by zero"),
        ("exits", "raise SystemExit(0)\n", "SystemExit: 0"),
    ],
)
def test_a_workload_that_cannot_be_imported_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, text: str, error: str
) -> None:
    (tmp_path / f"broken_{module}").mkdir()
    (tmp_path / f"broken_{module}" / "main.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    said = refusal(tmp_path, GOOD.replace("tests.toys.noop", f"broken_{module}.main"))
    assert said == [f"sweep.yaml:16:9: stages.toy.workload: importing broken_{module}.main failed: {error}"]


def test_a_field_that_only_an_axis_gives_is_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD.replace("{name: mlp, width: 8}", "{name: linear}").replace("seed: 2", "fit.model.scale: [1, 2]").replace(
        "fit.model.width: 100", "").replace("fit.model: {name: linear, scale: 2}", ""))  # fmt: skip
    check(read(path))


def test_checking_leaves_torch_ray_and_mlflow_unloaded(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD)
    code = (
        "import sys; from pathlib import Path; from orchestrator.sweepfile.check import check; from orchestrator.spec import read;"
        f"check(read(Path({str(tmp_path / 'sweep.yaml')!r}))); print(sorted({{'torch', 'ray', 'mlflow'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
