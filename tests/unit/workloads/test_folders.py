"""Data sets of folders on small fixtures: which pictures, which labels, how they shrink, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy
import pytest
import torch
from PIL import Image

from workloads.datasets.folders import CINIC10, SUPER_CLASSES, RestrictedImageNet
from workloads.datasets.restricted32 import Restricted32


class FewCINIC10(CINIC10):
    """Two pictures a class."""

    SIZES: ClassVar[tuple[int, int]] = (20, 10)


class FewRestricted(RestrictedImageNet):
    """One picture of every class of ImageNet."""

    SIZES: ClassVar[tuple[int, int]] = (203, 203)


def picture(file: Path, pixels: numpy.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def cinic(tmp_path: Path) -> Path:
    """Pictures of one grey level each: 10 times the label, plus 1 for the second."""
    for split, count in (("train", 2), ("test", 1)):
        for label, (name,) in enumerate(CINIC10().classes(tmp_path)):
            for index in range(count):
                grey = numpy.full((32, 32, 3), 10 * label + index, dtype=numpy.uint8)
                picture(tmp_path / "CINIC-10" / split / name / f"{index}.png", grey)
    return tmp_path


def test_pictures_come_with_the_label_of_their_folder_and_are_kept(cinic: Path):
    data = FewCINIC10()
    loaded = data.load(cinic, 0)
    assert loaded.train_x.shape == (20, 3, 32, 32)
    assert loaded.train_y.tolist() == [label for label in range(10) for _ in range(2)]
    assert loaded.train_x[:, 0, 0, 0].tolist() == [10 * label + index for label in range(10) for index in range(2)]
    assert loaded.test_y.tolist() == [*range(10)]
    for split in ("train", "test"):  # from now on the folders are not needed
        (cinic / "CINIC-10" / split).rename(cinic / split)
    assert data.missing(cinic) is None
    again = FewCINIC10().load(cinic, 0)
    assert torch.equal(again.train_x, loaded.train_x)
    assert torch.equal(again.test_y, loaded.test_y)


def test_a_picture_too_few_is_refused_and_missing_folders_are_named(cinic: Path, tmp_path: Path):
    (cinic / "CINIC-10" / "train" / "cat" / "0.png").unlink()
    with pytest.raises(ValueError, match="19 pictures of these classes; 20 were published"):
        FewCINIC10().load(cinic, 0)
    assert "train, test missing" in str(CINIC10().missing(tmp_path / "elsewhere"))


def test_what_is_no_picture_says_which_file(cinic: Path):
    (cinic / "CINIC-10" / "train" / "cat" / "0.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"cat/0\.png: no picture"):
        FewCINIC10().load(cinic, 0)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of 1,000 classes; its picture is 96 x 48, black to the left and the class to the right."""
    made = tmp_path_factory.mktemp("data")
    for index in range(1000):
        pixels = numpy.zeros((48, 96, 3), dtype=numpy.uint8)
        pixels[:, 48:] = index % 251
        for split in ("train", "val"):
            picture(made / "imagenet" / split / f"n{index:08}" / "one.png", pixels)
    return made


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_super_classes_are_ranges_of_imagenets_classes(imagenet: Path, resize: Any):
    loaded = FewRestricted(resize=resize).load(imagenet, 0)
    counts = torch.bincount(loaded.train_y).tolist()
    assert counts == [last - first + 1 for first, last in SUPER_CLASSES] == [118, 5, 3, 5, 21, 18, 9, 4, 20]
    of_first = loaded.train_x[0, 0]
    assert of_first[:, :16].eq(0).all()
    assert of_first[:, 16:].eq(151).all()
    assert loaded.classes == 9


def test_crops_and_whole_pictures_are_kept_apart_and_have_keys_of_their_own(imagenet: Path):
    for resize in ("squash", "crop"):
        FewRestricted(resize=resize).load(imagenet, 0)
    names = sorted(item.name for item in (imagenet / "imagenet").glob("*.npz"))
    assert names == ["pictures-32-crop.npz", "pictures-32-squash.npz"]


def test_the_stand_in_has_six_of_the_nine_super_classes(data_dir: Path):
    data = Restricted32().load(data_dir, 0)
    assert torch.bincount(data.train_y, minlength=9).tolist() == [500, 500, 500, 0, 500, 500, 0, 0, 500]
    assert data.test_x.shape == (1150, 3, 32, 32)
    assert data.classes == 9
    pixels = data.train_x.double() / 255
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx(data.mean, abs=1e-4)
    assert pixels.std((0, 2, 3), correction=0).tolist() == pytest.approx(data.std, abs=1e-4)


def test_the_stand_in_is_known_by_its_arrays(tmp_path: Path):
    data = Restricted32()
    assert "train.npz, val.npz missing" in str(data.missing(tmp_path))
    (tmp_path / "restricted32").mkdir()
    for name in ("train.npz", "val.npz"):
        numpy.savez(tmp_path / "restricted32" / name, x=numpy.zeros((2, 32, 32, 3), numpy.uint8), y=numpy.zeros(2, int))
    with pytest.raises(ValueError, match="damaged"):
        data.load(tmp_path, 0)
