"""Data sets: what is corrupted, how much, and that the test part never is."""

from __future__ import annotations

import ast
import gzip
import hashlib
import pickle
import shlex
from pathlib import Path

import numpy
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from workloads.datasets import CIFAR10, CIFAR100, MNIST, Digits, Npz, cifar
from workloads.datasets.augmentation import crop_flip, draw_crop_flip
from workloads.datasets.check import check
from workloads.datasets.corruption import zero_out
from workloads.datasets.published import Published
from workloads.streams import generator

HERE = Path()


def test_digits_split_is_fixed_and_whole():
    data = Digits().load(HERE, 0)
    assert (data.train_x.shape, data.test_x.shape) == ((1200, 1, 8, 8), (597, 1, 8, 8))
    assert data.train_x.dtype == torch.uint8
    assert (int(data.train_x.min()), int(data.train_x.max())) == (0, 255)
    assert data.train_y.bincount().min() > 100
    again = Digits().load(HERE, 7)
    assert torch.equal(data.train_x, again.train_x)
    pixels = data.train_x.double() / 255
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=1e-4)
    assert pixels.std(unbiased=False).item() == pytest.approx(data.std[0], abs=1e-4)


def test_subset_is_drawn_once_for_each_seed():
    first, again, other = (Digits(subset=100).load(HERE, seed) for seed in (0, 0, 1))
    assert torch.equal(first.train_x, again.train_x)
    assert not torch.equal(first.train_x, other.train_x)
    assert len(first.train_y) == 100


def test_random_labels_are_uniform_and_touch_only_the_training_part():
    """Check 23 of the known answers."""
    true, random = Digits().load(HERE, 0), Digits(labels="random").load(HERE, 0)
    assert torch.equal(true.train_x, random.train_x)
    assert torch.equal(true.test_y, random.test_y)
    assert torch.equal(true.test_x, random.test_x)
    assert (true.train_y == random.train_y).double().mean().item() == pytest.approx(0.1, abs=0.03)
    counts = random.train_y.bincount(minlength=10).double()
    assert ((counts - 120) ** 2 / 120).sum() < 27.9, "chi-squared, 9 degrees of freedom, p = 0.001"


def test_zero_out_takes_exactly_so_many_entries_of_each_image():
    """Check 9 of the known answers."""
    x = torch.full((50, 3, 32, 32), 9, dtype=torch.uint8)
    zeroed = zero_out(x, 0.1, 0)
    assert (zeroed == 0).flatten(1).sum(1).tolist() == [307] * 50
    assert int(x.min()) == 9, "the original is left alone"
    assert not torch.equal(zeroed[0], zeroed[1])
    per_entry = (zero_out(x[:1].expand(2000, -1, -1, -1), 0.1, 1) == 0).double().mean(0)
    assert per_entry.std().item() == pytest.approx((0.1 * 0.9 / 2000) ** 0.5, rel=0.1)


def test_copies_replace_the_originals_each_with_its_own_corruption():
    data = Digits(subset=30, copies=2, labels="random", zero_out=0.25).load(HERE, 0)
    plain = Digits(subset=30).load(HERE, 0)
    assert data.train_x.shape == (60, 1, 8, 8)
    for half in (data.train_x[:30], data.train_x[30:]):
        changed = half != plain.train_x
        assert changed.any()
        assert (half[changed] == 0).all()
    assert not torch.equal(data.train_x[:30], data.train_x[30:])
    assert not torch.equal(data.train_y[:30], data.train_y[30:])
    again = Digits(subset=30, copies=2, labels="random", zero_out=0.25).load(HERE, 0)
    assert torch.equal(again.train_x, data.train_x), "check 9: fixed for a seed, whoever asks"
    assert torch.equal(again.train_y, data.train_y)


def test_confusion_adds_further_images_with_random_labels():
    plain, confused = Digits(subset=400).load(HERE, 0), Digits(subset=400, confusion=800).load(HERE, 0)
    assert torch.equal(confused.train_x[:400], plain.train_x)
    assert torch.equal(confused.train_y[:400], plain.train_y)
    whole = Digits().load(HERE, 0)
    ours = sorted(confused.train_x.flatten(1).tolist())
    assert ours == sorted(whole.train_x.flatten(1).tolist()), "400 and 800 are all 1,200, none twice"
    smaller = Digits(subset=400, confusion=200).load(HERE, 0)
    assert torch.equal(smaller.train_x[400:], confused.train_x[400:600])


def test_too_small_a_training_part_is_refused():
    with pytest.raises(ValueError, match="want 1201 images; the training part of digits has 1200"):
        Digits(subset=401, confusion=800).load(HERE, 0)


def test_clean_keeps_the_images_and_drops_the_corruption():
    corrupted = Digits(
        subset=50, labels="random", copies=3, zero_out=0.1, confusion=5, augment="crop_flip", normalize=False
    )
    assert corrupted.clean() == Digits(subset=50, normalize=False)


def test_crop_flip_is_pad_crop_mirror_of_each_image():
    x = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "test"))
    draws = draw_crop_flip(64, generator(0, "augment", 1))
    fast = crop_flip(x, draws)
    padded = F.pad(x, (4, 4, 4, 4))
    for image, (row, column, flip), got in zip(padded, draws.tolist(), fast, strict=True):
        slow = image[:, row : row + 32, column : column + 32]
        assert torch.equal(got, slow.flip(2) if flip else slow)


def test_crop_flip_draws_are_uniform_and_independent_of_the_order_of_epochs():
    draws = draw_crop_flip(9000, generator(0, "augment", 3))
    for axis in (0, 1):
        assert draws[:, axis].bincount(minlength=9).double().div(9000).sub(1 / 9).abs().max() < 0.015
    assert draws[:, 2].double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(draws, draw_crop_flip(9000, generator(0, "augment", 3)))


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    random = numpy.random.default_rng(0)
    numpy.savez(
        tmp_path / "own.npz",
        x=random.integers(256, size=(20, 5, 6, 3), dtype=numpy.uint8), y=numpy.arange(20) % 4,
        test_x=random.integers(256, size=(8, 5, 6, 3), dtype=numpy.uint8), test_y=numpy.arange(8) % 4,
    )  # fmt: skip
    return tmp_path


def test_npz_is_known_by_its_content_wherever_it_lies(npz: Path):
    own = Npz(path="own.npz")
    data = own.load(npz, 0)
    assert data.shape == (3, 5, 6)
    assert data.classes == 4
    before = own.fingerprint(npz)
    (npz / "moved").mkdir()
    (npz / "own.npz").rename(npz / "moved" / "other.npz")
    assert Npz(path="moved/other.npz").fingerprint(npz) == before
    assert own.fingerprint(npz) == "missing"
    assert "no such file" in str(own.missing(npz))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": numpy.zeros((20, 5, 6, 3))}, "x is float64"),
        ({"y": numpy.zeros(3, int)}, "labels of x must be 20 integers"),
        ({"test_x": numpy.zeros((0, 5, 6, 3), numpy.uint8), "test_y": numpy.zeros(0, int)}, "none of them 0"),
        ({"test_x": numpy.zeros((8, 6, 5, 3), numpy.uint8)}, "differ in shape"),
    ],
)
def test_wrong_npz_is_refused(npz: Path, change: dict[str, numpy.ndarray], message: str):
    with numpy.load(npz / "own.npz") as content:
        parts = {**dict(content), **change}
    numpy.savez(npz / "wrong.npz", **parts)
    with pytest.raises(ValueError, match=message):
        Npz(path="wrong.npz").load(npz, 0)


def test_a_file_that_is_no_npz_is_named(tmp_path: Path):
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"junk\.npz: not an \.npz file"):
        Npz(path="junk.npz").load(tmp_path, 0)


@pytest.mark.parametrize("config", [CIFAR10(), CIFAR100(), MNIST()])
def test_missing_set_is_named_with_place_and_remedy(config: CIFAR10 | CIFAR100 | MNIST, tmp_path: Path):
    sentence = config.missing(tmp_path)
    assert sentence is not None
    assert str(tmp_path) in sentence
    command = shlex.split(sentence.partition("fetch it with: ")[2])[:3]
    assert command[:2] == ["python", "-c"]
    called = ast.parse(command[2]).body[-1]
    assert ast.unparse(called) == f"torchvision.datasets.{type(config).__name__}({str(tmp_path)!r}, download=True)"
    assert config.fingerprint(tmp_path).startswith("md5:")


def test_real_cifar10_and_mnist(data_dir: Path):
    cifar = CIFAR10().load(data_dir, 0)
    assert cifar.train_x.shape == (50_000, 3, 32, 32)
    assert cifar.train_y.bincount().tolist() == [5000] * 10
    means = (cifar.train_x.double() / 255).mean((0, 2, 3))
    assert means.tolist() == pytest.approx(cifar.mean, abs=1e-3)
    mnist = MNIST().load(data_dir, 0)
    assert (mnist.train_x.shape, len(mnist.test_y)) == ((60_000, 1, 28, 28), 10_000)
    pixels = mnist.train_x.double() / 255
    assert (pixels.mean().item(), pixels.std().item()) == pytest.approx((mnist.mean[0], mnist.std[0]), abs=1e-4)
    assert check("cifar10", data_dir).ready
    assert not check("cifar100", data_dir).ready


def test_damaged_file_is_noticed(data_dir: Path, tmp_path: Path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for path in (data_dir / "MNIST" / "raw").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    labels = folder / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x01")
    assert "damaged" in str(check("mnist", tmp_path))
    with pytest.raises(ValueError, match="damaged"):
        MNIST().load(tmp_path, 0)


def test_gzipped_files_are_read_and_checked_too(data_dir: Path, tmp_path: Path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for path in (data_dir / "MNIST" / "raw").glob("*-ubyte"):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    assert MNIST().missing(tmp_path) is None
    assert check("mnist", tmp_path).ready
    assert torch.equal(MNIST().load(tmp_path, 0).test_x, MNIST().load(data_dir, 0).test_x)
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-9])
    assert "t10k-labels-idx1-ubyte damaged" in check("mnist", tmp_path).says


def write_published(folder: Path, parts: dict[str, object]) -> Published:
    """A data set of pickled files with right checksums, as CIFAR's were published."""
    (folder / "set").mkdir()
    sums = {}
    for name, content in parts.items():
        raw = pickle.dumps(content)
        (folder / "set" / name).write_bytes(raw)
        sums[name] = hashlib.md5(raw).hexdigest()
    return Published("set", sums, "CIFAR100")


def test_cifar_files_give_images_and_the_labels_asked_for(tmp_path: Path):
    images = numpy.arange(4 * 3072).reshape(4, 3072).astype(numpy.uint8)
    part = {"data": images, "fine_labels": [99, 3, 0, 7], "coarse_labels": [1, 1, 1, 1]}
    published = write_published(tmp_path, {"train": part, "test": part})
    arrays = cifar._arrays(published, tmp_path, ("train",), "test", "fine_labels")
    assert arrays.train_y.tolist() == [99, 3, 0, 7]
    assert arrays.test_x.shape == (4, 3, 32, 32)
    assert arrays.train_x[1, 2, 0, :3].tolist() == images[1, 2048:2051].tolist(), "red, green, blue planes in rows"


def test_a_pickle_that_holds_more_than_arrays_is_refused(tmp_path: Path):
    published = write_published(tmp_path, {"train": {"data": print}, "test": {}})
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print has no place in a data set"):
        cifar._arrays(published, tmp_path, ("train",), "test", "fine_labels")


def test_zero_out_of_whole_pixels_takes_all_their_channels():
    x = torch.full((20, 3, 8, 8), 9, dtype=torch.uint8)
    zeroed = zero_out(x, 0.1, 0, whole=True) == 0
    assert zeroed.any(1).flatten(1).sum(1).tolist() == [6] * 20
    assert torch.equal(zeroed.any(1), zeroed.all(1))


def test_originals_stay_whole_behind_their_copies_with_random_labels_of_their_own():
    config = Digits(subset=30, copies=2, labels="random", zero_out=0.25, zero_out_of="pixels", originals=True)
    data, plain = config.load(HERE, 0), Digits(subset=30).load(HERE, 0)
    assert config.images() == (90, 597)
    assert torch.equal(data.train_x[60:], plain.train_x)
    assert not torch.equal(data.train_x[:30], plain.train_x)
    labels = data.train_y.view(3, 30)
    assert not torch.equal(labels[0], labels[2])
    assert not torch.equal(labels[2], plain.train_y)
    with pytest.raises(ValidationError, match="give copies"):
        Digits(originals=True)
