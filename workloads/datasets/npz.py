"""A user's own images, in one .npz file."""

from __future__ import annotations

import hashlib
import zipfile
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from workloads.datasets.images import Arrays, ImageData


class Npz(ImageData):
    """`x`, `test_x`: uint8 (N, H, W, C); `y`, `test_y`: integers from 0. Known by its content, wherever it lies."""

    name: Literal["npz"] = "npz"
    path: str
    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path"})

    def file(self, data_dir: Path) -> Path:
        """The file: `path` as it stands, or in the data folder."""
        inside = data_dir / self.path
        return inside if inside.is_file() else Path(self.path).expanduser()

    def fingerprint(self, data_dir: Path) -> str:
        """sha256 of the file; "missing" where there is none, which no run gets to see."""
        file = self.file(data_dir)
        return f"sha256:{_sha256(file, file.stat().st_mtime_ns)}" if file.is_file() else "missing"

    def missing(self, data_dir: Path) -> str | None:
        """Whether the file is there."""
        if self.file(data_dir).is_file():
            return None
        return f"{data_dir / self.path}: no such file (nor {self.path} from here); put it there, or say --data DIR"

    def arrays(self, data_dir: Path) -> Arrays:
        """The file's arrays.

        Raises:
            ValueError: an array is missing or of another shape or type.
        """
        file = self.file(data_dir)
        return _arrays(file, file.stat().st_mtime_ns)

    def constants(self, data_dir: Path) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
        """Classes, mean and std as the training part has them."""
        arrays = self.arrays(data_dir)
        x = arrays.train_x.double() / 255
        classes = int(max(arrays.train_y.max(), arrays.test_y.max())) + 1
        mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3), unbiased=False)
        return classes, tuple(mean.tolist()), tuple(max(value, 1e-6) for value in std.tolist())


@cache
def _sha256(file: Path, changed: int) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@cache
def _arrays(file: Path, changed: int) -> Arrays:
    import numpy
    import torch

    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file}: not an .npz file")
    with numpy.load(file, allow_pickle=False) as content:
        absent = {"x", "y", "test_x", "test_y"} - set(content.files)
        if absent:
            raise ValueError(f"{file}: no array {', '.join(sorted(absent))}; it has {', '.join(content.files)}")
        parts = {name: content[name] for name in ("x", "y", "test_x", "test_y")}
    for name in ("x", "test_x"):
        if parts[name].dtype != numpy.uint8 or parts[name].ndim != 4 or not parts[name].size:
            found = f"{parts[name].dtype} {parts[name].shape}"
            raise ValueError(f"{file}: {name} is {found}; expected uint8 (N, H, W, C), none of them 0")
        images = numpy.ascontiguousarray(parts[name].transpose(0, 3, 1, 2))
        labels = parts[name.replace("x", "y")]
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise ValueError(f"{file}: labels of {name} must be {len(images)} integers from 0")
        parts[name] = images
    if parts["x"].shape[1:] != parts["test_x"].shape[1:]:
        raise ValueError(f"{file}: images of x and of test_x differ in shape")
    x, y, test_x, test_y = (torch.from_numpy(parts[name]) for name in ("x", "y", "test_x", "test_y"))
    return Arrays(x, y.long(), test_x, test_y.long())
