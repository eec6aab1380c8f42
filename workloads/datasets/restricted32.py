"""A small stand-in for Restricted ImageNet at 32x32, cut from Tiny ImageNet: six of its nine super-classes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from workloads.datasets.images import Arrays, ImageData

FOLDER = "restricted32"
FILES = {"train.npz": "29ab96c56c5f7dee23e57ff4ea27a7e8", "val.npz": "bfaf7874df5867ed2ceeb910d8e0a47e"}


class Restricted32(ImageData):
    """4,150 colour images of 32x32 (dogs, cats, frogs, birds, primates, insects), 1,150 of them to test on.

    Not the data of Liu et al.: 3,000 images to train on in place of 123,000. Labels are those of Restricted ImageNet,
    so three of nine never occur.
    """

    name: Literal["restricted32"] = "restricted32"
    CLASSES: ClassVar[int] = 9
    SIZES: ClassVar[tuple[int, int]] = (3_000, 1_150)
    SHAPE: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    MEAN: ClassVar[tuple[float, ...]] = (0.4772, 0.4576, 0.3836)
    STD: ClassVar[tuple[float, ...]] = (0.2395, 0.2331, 0.2443)

    def fingerprint(self, data_dir: Path) -> str:
        """Of the arrays, known without them."""
        return "md5:" + hashlib.md5("".join(FILES.values()).encode()).hexdigest()

    def missing(self, data_dir: Path) -> str | None:
        """What is not in `data_dir`."""
        absent = [name for name in FILES if not (data_dir / FOLDER / name).is_file()]
        if not absent:
            return None
        return f"{data_dir / FOLDER}: {', '.join(absent)} missing; put them there (x, y in each), or say --data DIR"

    def arrays(self, data_dir: Path) -> Arrays:
        """The arrays of both files.

        Raises:
            ValueError: a file is not what it should be.
        """
        return _arrays(data_dir / FOLDER)


@cache
def _arrays(folder: Path) -> Arrays:
    import numpy
    import torch

    parts: list[torch.Tensor] = []
    for name, md5 in FILES.items():
        with numpy.load(folder / name, allow_pickle=False) as content:
            x, y = content["x"], content["y"].astype("<i8")
        if hashlib.md5(numpy.ascontiguousarray(x).tobytes() + y.tobytes()).hexdigest() != md5:
            raise ValueError(f"{folder / name}: damaged (md5 differs)")
        parts += [torch.from_numpy(numpy.ascontiguousarray(x.transpose(0, 3, 1, 2))), torch.from_numpy(y).long()]
    return Arrays(*parts)
