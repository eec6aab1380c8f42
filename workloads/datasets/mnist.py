"""MNIST, from its published files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from workloads.datasets.images import Arrays, ImageData
from workloads.datasets.published import Published

PUBLISHED = Published(
    "MNIST/raw",
    {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "MNIST",
)


class MNIST(ImageData):
    """70,000 handwritten digits of 28x28, 10,000 of them to test on. LeCun et al. 1998."""

    name: Literal["mnist"] = "mnist"
    SIZES: ClassVar[tuple[int, int]] = (60_000, 10_000)
    SHAPE: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    MEAN: ClassVar[tuple[float, ...]] = (0.1307,)
    STD: ClassVar[tuple[float, ...]] = (0.3081,)

    def fingerprint(self, data_dir: Path) -> str:
        """Of the published files."""
        return PUBLISHED.fingerprint

    def missing(self, data_dir: Path) -> str | None:
        """What is not in `data_dir`."""
        return PUBLISHED.missing(data_dir)

    def arrays(self, data_dir: Path) -> Arrays:
        """The published arrays."""
        return _arrays(data_dir)


@cache
def _arrays(data_dir: Path) -> Arrays:
    import numpy
    import torch

    def images(name: str) -> torch.Tensor:
        content = numpy.frombuffer(PUBLISHED.read(data_dir, name), numpy.uint8, offset=16)
        return torch.from_numpy(content.copy()).view(-1, 1, 28, 28)

    def labels(name: str) -> torch.Tensor:
        content = numpy.frombuffer(PUBLISHED.read(data_dir, name), numpy.uint8, offset=8)
        return torch.from_numpy(content.copy()).long()

    x, y, test_x, test_y = PUBLISHED.files
    return Arrays(images(x), labels(y), images(test_x), labels(test_y))
