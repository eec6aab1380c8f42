"""The JSON schema of sweep files: committed as it is printed; what is right passes, mistakes do not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.cli import main
from orchestrator.sweepfile.check import read_checked
from orchestrator.sweepfile.yamlfile import load

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "sweep.schema.json"
SHIPPED = sorted((ROOT / "sweeps").rglob("*.yaml"))
GOOD = """\
name: good
stages:
  fit:
    workload: train
    data: {name: digits, copies: 1}
    model: {name: mlp, width: 8}
    optimizer: {name: sgd, lr: 0.1}
    adversary: {name: pgd, epsilon: 8/255, step: 2/255, steps: 1}
    stop: {epochs: 1}
    time_limit: 90s
  see: {workload: measure, from: fit, measures: [test_accuracy]}
  own: {workload: tests.toys.gather, over: seed, from: fit, time_limit: 30}
axes:
  recipe: {plain: {}, decay: {fit.optimizer.weight_decay: 0.01}, 3: {fit.optimizer.momentum: 0.5}}
  fit.data.subset: [100, 200]
  seed: 2
zip: [[recipe, fit.data.subset]]
where: {recipe: [plain, decay]}
exclude: [{recipe: plain, seed: 1}]
tables: {t: {values: test_accuracy, rows: [recipe], statistic: mean_ci}}
figures: {f: {x: fit.data.subset, y: test_accuracy}, g: {kind: curves, y: [train_accuracy], stage: fit}}
claims: {c: {says: Rises., metric: test_accuracy, where: {seed: [0, 1]}, increasing: fit.data.subset}}
scales: {smoke: {"*.data.name": digits, seed: 1, axes.recipe: plain}}
"""


def values(value: Any) -> Any:
    """YAML values as JSON has them."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else json.dumps(key): values(item) for key, item in value.items()}
    return [values(item) for item in value] if isinstance(value, list) else value


def complaints(path: Path) -> list[str]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return [error.message for error in Draft202012Validator(schema).iter_errors(values(load(path).value))]


def test_the_committed_schema_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == SCHEMA.read_text(encoding="utf-8"), (
        "if the change is meant: sweep schema > docs/sweep.schema.json"
    )
    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_sweep_names_the_schema_and_passes(path: Path) -> None:
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", path.read_text(encoding="utf-8").split("\n")[0])
    assert named, f"{path}: its first line names no schema"
    assert (path.parent / named[1]).resolve() == SCHEMA
    assert complaints(path) == []


def test_a_sweep_with_everything_in_it_passes(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD.replace("\nwhere:", "\n# where:").replace("exclude:", "# exclude:"))
    assert complaints(tmp_path / "sweep.yaml") == []
    text = GOOD.replace("zip: [[recipe, fit.data.subset]]\n", "")
    (tmp_path / "sweep.yaml").write_text(text)
    assert complaints(tmp_path / "sweep.yaml") == []
    read_checked(tmp_path / "sweep.yaml", "smoke", {})


@pytest.mark.parametrize(
    "text",
    [
        "name: mine\nextends: good.yaml\nstages: {fit: {optimizer: {lr: 0.2}, model: {name: mlp}}}\n",
        GOOD.replace("    model: {name: mlp, width: 8}\n", "    model: null\n"),
        GOOD.replace("seed: 2\nzip", "seed: {until: {metric: m, standard_error: 1%}, at_least: 2, at_most: 9}\nzip"),
        GOOD.replace("[test_accuracy]}\n", "[test_accuracy, {name: train_accuracy}]}\n"),
    ],
)
def test_what_may_be_written_passes(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    assert complaints(tmp_path / "sweep.yaml") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: good\n", ""),
        ("name: good\n", "name: ../good\n"),
        ("axes:", "axis:"),
        ("    workload: train\n", ""),
        ("workload: train", "workload: trian"),
        ("    optimizer:", "    optimzer:"),
        ("name: sgd", "name: sgdd"),
        ("width: 8", "width: wide"),
        ("width: 8", "widht: 8"),
        ("epochs: 1", "epochs: -1"),
        ("copies: 1", "copies: 1.5"),
        ("[test_accuracy]}\n  own", "[test_acuracy]}\n  own"),
        ("[test_accuracy]}\n  own", "[{name: test_accuracy, epsilon: 1}]}\n  own"),
        ("time_limit: 90s", "time_limit: 90m"),
        ("over: seed", "over: [seed]"),
        ("seed: 2\n", "seed: 0\n"),
        ("seed: 2\n", "seed: {until: {metric: m}, at_least: 2, at_most: 9}\n"),
        ("fit.data.subset: [100, 200]", "fit.data.subset: 100"),
        ("fit.data.subset: [100, 200]", "fit.data.subset: []"),
        ("plain: {}", "plain: 3"),
        ("statistic: mean_ci", "statistic: mean_sd"),
        ("values: test_accuracy, ", "value: test_accuracy, "),
        ("increasing: fit", "rising: fit"),
        ("kind: curves", "kind: curve"),
        ("lr: 0.1", "lr: fast"),
    ],
)
def test_common_mistakes_fail(tmp_path: Path, old: str, new: str) -> None:
    assert GOOD.count(old) == 1
    (tmp_path / "sweep.yaml").write_text(GOOD.replace(old, new))
    assert complaints(tmp_path / "sweep.yaml")
