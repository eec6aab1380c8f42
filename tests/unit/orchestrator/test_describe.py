"""`sweep describe`: whatever a sweep can name is described with every field, and what does not exist is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.findings.catalogue import PARTS, members
from orchestrator.findings.description import describe
from orchestrator.store import Store
from workloads.contract import SHIPPED, load_workload
from workloads.measures import MEASURES

REPO = Path(__file__).resolve().parents[3]
QUICKSTART = REPO / "sweeps" / "quickstart.yaml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One that has run the quickstart's smoke scale, as far as its folder says."""
    store = Store.at(tmp_path / "store").prepare()
    folder = store.sweep_folder("quickstart@smoke")
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(QUICKSTART.read_text())
    (folder / "plan.json").write_text(json.dumps({"scale": "smoke", "set": {}}))
    return store


@pytest.mark.parametrize("kind", PARTS)
def test_parts_with_their_fields(kind: str, store: Store):
    for name, part in members(kind).items():
        said = describe(name, store)
        assert f"{name}: one of the {kind}" in said
        for field in part.model_fields.keys() - {"name"}:
            assert f"    {field}: " in said, (name, field)


@pytest.mark.parametrize("name", SHIPPED)
def test_workloads_with_their_fields(name: str, store: Store):
    said = describe(name, store)
    for field in load_workload(name).config.model_fields:
        assert f"    {field.rstrip('_')}: " in said


def test_measures_with_source_unit_convention_and_options(store: Store):
    for name, measure in MEASURES.items():
        said = describe(name, store)
        assert all(text in said for text in (measure.source, measure.unit, measure.convention))
        assert all(f"    {option}: " in said for option in measure.options)


def test_types_bounds_and_defaults_are_those_of_the_config(store: Store):
    lines = describe("mlp", store).splitlines()
    assert "    width: whole number > 0 (default 256)" in lines
    assert "    dropout: number >= 0, < 1 (default 0.0)" in lines
    assert "    widths: list of whole number > 0 | null (default null)" in lines
    assert "    lr: number > 0 (required)" in describe("sgd", store).splitlines()
    train = describe("train", store)
    assert "    optimizer: sgd | langevin (required)" in train
    assert "    schedule: constant | multistep | cosine | power | plateau (default constant)" in train


def test_a_sweep_of_the_store_is_as_its_scale_has_it(store: Store):
    said = describe("quickstart@smoke", store)
    assert "    confusion: 400\n" in said
    assert "    confusion: 0, 200, 400, 800\n" in describe(str(QUICKSTART), store)
    assert "    fit: train\n" in said
    assert "    vanilla_is_trapped: From C >= 400," in said


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ("resnet81", "nothing is called 'resnet81'; allowed: "),
        ("resnet81", "did you mean 'resnet18'?"),
        ("tests.toys.nothing", "no workload 'tests.toys.nothing'"),
        ("orchestrator.errors", "a workload needs a function `run(config, context) -> Result`"),
        ("nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_what_does_not_exist_is_refused(thing: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["describe", thing, "--store", str(tmp_path / "none")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_it_loads_neither_torch_nor_ray(tmp_path: Path):
    code = (
        "import sys; from orchestrator.cli import main; main(['describe', 'train']);"
        "print('loaded', *sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded", done.stderr
