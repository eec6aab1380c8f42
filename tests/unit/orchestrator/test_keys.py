"""Keys: what changes one and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from orchestrator.planning.keys import digest, identity, node_identity
from workloads.contract import Config, DatasetConfig, Result, Workload, load_workload

HERE = Path()


class Sgd(Config):
    name: Literal["sgd"] = "sgd"
    lr: float
    momentum: float = 0.0


class Adam(Config):
    name: Literal["adam"] = "adam"
    lr: float


class Plain(Config):
    name: Literal["plain"] = "plain"


class Images(DatasetConfig):
    name: Literal["images"] = "images"
    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path"})
    path: str = "here"

    def fingerprint(self, data_dir: Path) -> str:
        return "md5:1234"

    def missing(self, data_dir: Path) -> str | None:
        return None


class Recipe(Config):
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")]
    regularizer: Plain = Plain()
    epochs: int = 10
    threads: int = 1
    data: Images = Images()


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"optimizer": Sgd(lr=0.1), **fields})


def key(config: Config, seed: int = 0, **inputs: str) -> str:
    return digest(node_identity(load_workload("tests.toys.noop"), config, seed, inputs, HERE))


def test_identity_holds_what_differs_from_the_defaults_and_the_tags():
    assert identity(recipe(epochs=20), HERE) == {
        "optimizer": {"name": "sgd", "lr": 0.1},
        "epochs": 20,
        "data": {"name": "images", "fingerprint": "md5:1234"},
    }


def test_equal_fields_of_two_kinds_of_part_differ():
    assert key(recipe(optimizer=Sgd(lr=1.0))) != key(recipe(optimizer=Adam(lr=1.0)))


def test_a_field_written_out_at_its_default_changes_nothing():
    assert key(recipe(epochs=10, threads=1, regularizer=Plain())) == key(recipe())


def test_where_the_data_lies_changes_nothing_but_what_it_is_does(monkeypatch: pytest.MonkeyPatch):
    before = key(recipe())
    assert key(recipe(data=Images(path="elsewhere"))) == before
    monkeypatch.setattr(Images, "fingerprint", lambda self, data_dir: "md5:5678")
    assert key(recipe()) != before


def test_raising_the_version_of_a_part_changes_the_keys_that_chose_it(monkeypatch: pytest.MonkeyPatch):
    sgd, adam, default = key(recipe()), key(recipe(optimizer=Adam(lr=0.1))), key(recipe(epochs=3))
    monkeypatch.setattr(Sgd, "VERSION", 2)
    assert key(recipe()) != sgd
    assert key(recipe(optimizer=Adam(lr=0.1))) == adam
    monkeypatch.setattr(Sgd, "VERSION", 1)
    monkeypatch.setattr(Plain, "VERSION", 2)
    assert key(recipe(epochs=3)) != default, "a part that is the default is chosen too"


def test_seed_inputs_and_workload_version_change_the_key():
    base = key(recipe())
    assert len({base, key(recipe(), 1), key(recipe(), start="a"), key(recipe(), start="a.start")}) == 4
    noop = load_workload("tests.toys.noop")
    later = Workload(noop.name, noop.config, 2, noop.run, noop.resolve, None)
    assert digest(node_identity(later, recipe(), 0, {}, HERE)) != base


def test_options_of_a_measure_are_in_the_key_and_their_defaults_are_not(monkeypatch: pytest.MonkeyPatch):
    from workloads.measure import MeasureConfig
    from workloads.measures.registry import MEASURES, Measure

    def fgsm(snapshot: object, *, epsilon: float = 0.1) -> float:
        return epsilon

    monkeypatch.setitem(MEASURES, "fgsm", Measure(fgsm, "", "", "", 1))

    def of(**options: Any) -> str:
        return key(MeasureConfig(**{"from": "input", "measures": ({"name": "fgsm", **options},)}))

    assert of(epsilon="2/255") != of(epsilon=0.5)
    assert of(epsilon="1/10") == of(epsilon=0.1) == of()


def test_an_option_of_several_words_is_left_out_at_its_default():
    from workloads.datasets import Digits

    assert identity(Digits(), HERE).keys() == {"name", "fingerprint"}


def test_numbers_that_are_equal_have_one_key():
    assert key(Recipe.model_validate_json('{"optimizer": {"name": "sgd", "lr": 1}}')) == key(
        recipe(optimizer=Sgd(lr=1.0))
    )


def test_workload_without_annotation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "careless.py").write_text("def run(config, context):\n    return None\n")
    (tmp_path / "empty.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TypeError, match="annotate"):
        load_workload("careless")
    with pytest.raises(TypeError, match="needs a function"):
        load_workload("empty")
    with pytest.raises(LookupError, match="shipped are train, measure"):
        load_workload("no.such.module")


def test_result_defaults_to_a_row():
    result = Result(metrics={"value": 1.0})
    assert (result.outcome, result.weights, result.start, dict(result.arrays)) == ("done", None, None, {})
