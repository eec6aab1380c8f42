"""CIFAR-10 and CIFAR-100, from the Python version's files."""

from __future__ import annotations

import io
import pickle
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from workloads.datasets.images import Arrays, ImageData
from workloads.datasets.published import Published

PUBLISHED10 = Published(
    "cifar-10-batches-py",
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    "CIFAR10",
)
PUBLISHED100 = Published(
    "cifar-100-python",
    {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    "CIFAR100",
)


class CIFAR10(ImageData):
    """60,000 colour images of 32x32 in 10 classes, 10,000 of them to test on. Krizhevsky 2009."""

    name: Literal["cifar10"] = "cifar10"
    SIZES: ClassVar[tuple[int, int]] = (50_000, 10_000)
    SHAPE: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    MEAN: ClassVar[tuple[float, ...]] = (0.4914, 0.4822, 0.4465)
    STD: ClassVar[tuple[float, ...]] = (0.2023, 0.1994, 0.2010)

    def fingerprint(self, data_dir: Path) -> str:
        """Of the published files."""
        return PUBLISHED10.fingerprint

    def missing(self, data_dir: Path) -> str | None:
        """What is not in `data_dir`."""
        return PUBLISHED10.missing(data_dir)

    def arrays(self, data_dir: Path) -> Arrays:
        """The published arrays."""
        return _arrays(PUBLISHED10, data_dir, tuple(PUBLISHED10.files)[:5], "test_batch", "labels")


class CIFAR100(ImageData):
    """60,000 colour images of 32x32 in 100 classes, 10,000 of them to test on. Krizhevsky 2009."""

    name: Literal["cifar100"] = "cifar100"
    CLASSES: ClassVar[int] = 100
    SIZES: ClassVar[tuple[int, int]] = (50_000, 10_000)
    SHAPE: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    MEAN: ClassVar[tuple[float, ...]] = (0.5071, 0.4865, 0.4409)
    STD: ClassVar[tuple[float, ...]] = (0.2673, 0.2564, 0.2762)

    def fingerprint(self, data_dir: Path) -> str:
        """Of the published files."""
        return PUBLISHED100.fingerprint

    def missing(self, data_dir: Path) -> str | None:
        """What is not in `data_dir`."""
        return PUBLISHED100.missing(data_dir)

    def arrays(self, data_dir: Path) -> Arrays:
        """The published arrays, with the fine labels."""
        return _arrays(PUBLISHED100, data_dir, ("train",), "test", "fine_labels")


class _ArraysOnly(pickle.Unpickler):
    """The files are pickles: of plain values and numpy arrays, and nothing else is let in."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """A class that the published files need; anything else is refused."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a data set")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


@cache
def _arrays(published: Published, data_dir: Path, train: tuple[str, ...], test: str, labels: str) -> Arrays:
    import numpy
    import torch

    def part(names: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        batches = [_ArraysOnly(io.BytesIO(published.read(data_dir, name)), encoding="latin1").load() for name in names]
        x = numpy.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        y = numpy.concatenate([batch[labels] for batch in batches])
        return torch.from_numpy(x), torch.from_numpy(y).long()

    return Arrays(*part(train), *part((test,)))
