"""What holds for every data set there is, whatever its options; a new one is tested without a line here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from tests.contract.members import members, tag
from workloads.datasets import Dataset, Digits, Npz
from workloads.datasets.images import Data, ImageData

DATASETS = [kind for kind in members(Dataset) if issubclass(kind, ImageData)]
CORRUPTIONS: list[dict[str, Any]] = [
    {},
    {"labels": "random"},
    {"subset": 20, "copies": 2, "zero_out": 0.1, "labels": "random"},
    {"subset": 20, "confusion": 30},
    {"subset": 20, "confusion": 30, "copies": 1, "zero_out": 0.5, "augment": "crop_flip", "normalize": False},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a user's own set."""
    made, draw = tmp_path_factory.mktemp("data"), numpy.random.default_rng(0)
    parts = {name: draw.integers(256, size=(60, 6, 5, 3), dtype=numpy.uint8) for name in ("x", "test_x")}
    numpy.savez(made / "own.npz", allow_pickle=False, **parts, y=numpy.arange(60) % 3, test_y=numpy.arange(60) % 3)
    return made


def check_data(config: ImageData, folder: Path) -> None:
    """The promises of every data set, whatever its options."""
    data, again, other = (config.load(folder, seed) for seed in (0, 0, 1))
    plain = config.clean().model_copy(update={"subset": None}).load(folder, 0)
    assert isinstance(data, Data)
    count = (config.subset or len(plain.train_x)) * max(config.copies, 1) + config.confusion
    assert data.train_x.shape == (count, *plain.train_x.shape[1:])
    assert data.train_y.shape == (count,)
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.uint8, torch.int64)
    assert (data.test_x.dtype, data.test_y.dtype) == (torch.uint8, torch.int64)
    assert 0 <= int(data.train_y.min()) <= int(data.train_y.max()) < data.classes
    assert data.shape == plain.shape
    assert len(data.mean) == len(data.std) == data.shape[0]
    for name in ("train_x", "train_y", "test_x", "test_y"):
        assert torch.equal(getattr(data, name), getattr(again, name)), "one seed, one data set"
    for name in ("test_x", "test_y"):
        assert torch.equal(getattr(data, name), getattr(plain, name)), "the test part is never touched"
        assert torch.equal(getattr(data, name), getattr(other, name))
    drawn = config.subset is not None or config.labels == "random"
    same = torch.equal(data.train_x, other.train_x) and torch.equal(data.train_y, other.train_y)
    assert same != drawn, "another seed draws other images and labels"


@pytest.mark.parametrize("options", CORRUPTIONS, ids=lambda options: ",".join(options) or "as it is")
@pytest.mark.parametrize("kind", [Digits, Npz])
def test_a_data_set_keeps_its_promises(kind: type[Any], options: dict[str, Any], folder: Path):
    config = kind(path="own.npz", **options) if kind is Npz else kind(**options)
    assert config.missing(folder) is None
    check_data(config, folder)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_published_data_set_keeps_its_promises(name: str, data_dir: Path):
    kind: Any = next(kind for kind in DATASETS if tag(kind) == name)
    check_data(kind(subset=50, copies=1, zero_out=0.1, labels="random", confusion=20), data_dir)


def bare(kind: type[Any]) -> Any:
    """The data set with nothing said that need not be."""
    return kind(path="own.npz") if kind is Npz else kind()


@pytest.mark.parametrize("kind", DATASETS, ids=tag)
def test_a_data_set_is_known_without_its_files(kind: type[Any], tmp_path: Path):
    """Its fingerprint is what plans need; corruption is no part of it, and comes back from JSON as it was."""
    plain = bare(kind).model_copy(update={"subset": 5})
    config = plain.model_copy(update={"labels": "random", "zero_out": 0.25})
    assert config.fingerprint(tmp_path) == plain.fingerprint(tmp_path)
    assert kind.model_validate_json(config.model_dump_json()) == config
    assert config.clean() == plain
    sentence = config.missing(tmp_path)
    assert sentence is None or (str(tmp_path) in sentence and "\n" not in sentence)


def test_data_sets_have_different_fingerprints(tmp_path: Path):
    found = [bare(kind).fingerprint(tmp_path) for kind in DATASETS]
    assert len(set(found)) == len(found)
