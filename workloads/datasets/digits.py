"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from workloads.datasets.images import Arrays, ImageData

if TYPE_CHECKING:
    import numpy

TRAIN = 1200
SHA256 = "2526de2e62e18b828203482496690ef4dd58fe746c2961ee2e759f6771a579c5"


class Digits(ImageData):
    """1,797 images of 8x8 pixels in 16 grey levels; 1,200 to train on and 597 to test on, always the same."""

    name: Literal["digits"] = "digits"
    SIZES: ClassVar[tuple[int, int]] = (TRAIN, 597)
    SHAPE: ClassVar[tuple[int, int, int]] = (1, 8, 8)
    MEAN: ClassVar[tuple[float, ...]] = (0.3056,)
    STD: ClassVar[tuple[float, ...]] = (0.3756,)

    def fingerprint(self, data_dir: Path) -> str:
        """Of the arrays that the split gives; others are refused when they are loaded."""
        return f"sha256:{SHA256}"

    def missing(self, data_dir: Path) -> str | None:
        """It comes with scikit-learn."""
        if find_spec("sklearn") is not None:
            return None
        return "digits: scikit-learn is not installed here, and its images are a part of it; pip install scikit-learn"

    def arrays(self, data_dir: Path) -> Arrays:
        """The fixed split of the digits."""
        return _arrays()


def _published() -> tuple[numpy.ndarray, numpy.ndarray]:
    """Images (N, 64) and labels (N,), read from scikit-learn's file: to import it takes each process over a second."""
    import numpy

    spec = find_spec("sklearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = numpy.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return numpy.asarray(images), numpy.asarray(labels)


@cache
def _arrays() -> Arrays:
    import torch

    from workloads.streams import generator

    images, labels = _published()
    x = (torch.from_numpy(images) * 255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    y = torch.from_numpy(labels).long()
    order = torch.randperm(len(x), generator=generator(0, "digits split"))
    train, test = order[:TRAIN], order[TRAIN:]
    arrays = Arrays(x[train], y[train], x[test], y[test])
    digest = hashlib.sha256()
    for part in (arrays.train_x, arrays.train_y, arrays.test_x, arrays.test_y):
        digest.update(part.numpy().tobytes())
    if digest.hexdigest() != SHA256:
        raise ValueError(
            "scikit-learn's digits, or torch's randperm, are not those that the published results come from"
        )
    return arrays
