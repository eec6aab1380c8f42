"""CINIC-10 and Restricted ImageNet: data sets that are published as folders of pictures, a folder a class."""

from __future__ import annotations

import os
import uuid
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workloads.datasets.images import Arrays, ImageData

if TYPE_CHECKING:
    import torch

SIDE = 32
PICTURES = (".png", ".jpeg", ".jpg")
Fitting = Literal["squash", "crop"]
Classes = tuple[tuple[str, ...], ...]
"""Of each label the folders that make it up."""

CONCURRENT = 8  # pictures decoded at once


class Folders(ImageData):
    """Pictures in `ROOT/SPLIT/FOLDER/`, made 32x32. The first use writes them to an .npz file beside the folders."""

    SHAPE: ClassVar[tuple[int, int, int]] = (3, SIDE, SIDE)
    ROOT: ClassVar[str]
    SPLITS: ClassVar[tuple[str, str]]
    SIZES: ClassVar[tuple[int, int]]

    @abstractmethod
    def classes(self, data_dir: Path) -> Classes:
        """The folders of each label.

        Raises:
            ValueError: they cannot be told.
        """

    def fingerprint(self, data_dir: Path) -> str:
        """Of what was published, known without the data: folder and number of pictures; other numbers are refused."""
        return f"published:{self.ROOT} {self.SIZES[0]}+{self.SIZES[1]}"

    def missing(self, data_dir: Path) -> str | None:
        """Whether the folders, or what was made of them, are there."""
        if self._kept(data_dir).is_file():
            return None
        absent = [split for split in self.SPLITS if not (data_dir / self.ROOT / split).is_dir()]
        if not absent:
            return None
        return f"{data_dir / self.ROOT}: {', '.join(absent)} missing; unpack it there, or say --data DIR"

    def arrays(self, data_dir: Path) -> Arrays:
        """Both parts, read from the pictures once.

        Raises:
            ValueError: not as many pictures as were published.
        """
        kept = self._kept(data_dir)
        if kept.is_file():
            return _read(kept, kept.stat().st_mtime_ns)
        arrays = self._pictures(data_dir)
        _write(kept, arrays)
        return arrays

    def _kept(self, data_dir: Path) -> Path:
        """Where the small pictures are kept."""
        return data_dir / self.ROOT / f"pictures-{SIDE}-{self.fitting}.npz"

    @property
    def fitting(self) -> Fitting:
        """How a picture is made square."""
        return "squash"

    def _pictures(self, data_dir: Path) -> Arrays:
        import torch

        classes = self.classes(data_dir)
        parts: list[torch.Tensor] = []
        for split, published in zip(self.SPLITS, self.SIZES, strict=True):
            folder = data_dir / self.ROOT / split
            files = [(file, label) for label, names in enumerate(classes) for file in _files(folder, names)]
            if len(files) != published:
                raise ValueError(f"{folder}: {len(files):,} pictures of these classes; {published:,} were published")
            parts.append(_small([file for file, _ in files], self.fitting))
            parts.append(torch.tensor([label for _, label in files]))
        return Arrays(*parts)


class CINIC10(Folders):
    """270,000 colour images of 32x32 in the classes of CIFAR-10, from CIFAR-10 and ImageNet. Darlow et al. 2018.

    Trained on `train` and tested on `test`, 90,000 each; `valid` is not used, as in Liu et al., arXiv:1906.02613.
    """

    name: Literal["cinic10"] = "cinic10"
    ROOT: ClassVar[str] = "CINIC-10"
    SPLITS: ClassVar[tuple[str, str]] = ("train", "test")
    SIZES: ClassVar[tuple[int, int]] = (90_000, 90_000)
    MEAN: ClassVar[tuple[float, ...]] = (0.4789, 0.4723, 0.4305)
    STD: ClassVar[tuple[float, ...]] = (0.2421, 0.2383, 0.2587)

    def classes(self, data_dir: Path) -> Classes:
        """CIFAR-10's, in its order."""
        names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
        return tuple((name,) for name in names)


SUPER_CLASSES = ((151, 268), (281, 285), (30, 32), (33, 37), (80, 100), (365, 382), (389, 397), (118, 121), (300, 319))
"""First and last of ImageNet's 1,000 classes: dog, cat, frog, turtle, bird, primate, fish, crab, insect."""


class RestrictedImageNet(Folders):
    """ImageNet's pictures of nine super-classes (203 classes), made 32x32. Tsipras et al., arXiv:1805.12152.

    Liu et al., arXiv:1906.02613, used a selection of about 123,000 of them that they do not print.
    """

    name: Literal["restricted_imagenet"] = "restricted_imagenet"
    resize: Fitting = Field(
        default="squash", description="Whole pictures, or their largest central square, by box filter; an assumption."
    )
    ROOT: ClassVar[str] = "imagenet"
    SPLITS: ClassVar[tuple[str, str]] = ("train", "val")
    SIZES: ClassVar[tuple[int, int]] = (257_748, 10_150)
    CLASSES: ClassVar[int] = len(SUPER_CLASSES)
    MEAN: ClassVar[tuple[float, ...]] = (0.485, 0.456, 0.406)
    STD: ClassVar[tuple[float, ...]] = (0.229, 0.224, 0.225)

    @property
    def fitting(self) -> Fitting:
        """As the config says."""
        return self.resize

    def classes(self, data_dir: Path) -> Classes:
        """ImageNet's folders, in the order of their names, by super-class.

        Raises:
            ValueError: there are not 1,000 folders.
        """
        folder = data_dir / self.ROOT / self.SPLITS[0]
        names = sorted(item.name for item in folder.iterdir() if item.is_dir())
        if len(names) != 1000:
            raise ValueError(f"{folder}: {len(names)} folders; ImageNet has 1000, and their order tells the classes")
        return tuple(tuple(names[first : last + 1]) for first, last in SUPER_CLASSES)


def _files(folder: Path, names: Iterable[str]) -> list[Path]:
    """The pictures of some classes, in the order of their names.

    Raises:
        ValueError: a class has no folder.
    """
    found: list[Path] = []
    for name in names:
        if not (folder / name).is_dir():
            raise ValueError(f"{folder / name}: missing; it is one of the published classes")
        found += sorted(item for item in (folder / name).iterdir() if item.suffix.lower() in PICTURES)
    return found


def _small(files: Sequence[Path], fitting: Fitting) -> torch.Tensor:
    """uint8 (N, 3, 32, 32)."""
    import numpy
    import torch

    def read(file: Path) -> numpy.ndarray:
        return _square(file, fitting)

    with ThreadPoolExecutor(CONCURRENT) as pool:
        pictures = numpy.stack([*pool.map(read, files)])
    return torch.from_numpy(numpy.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def _square(file: Path, fitting: Fitting) -> Any:
    """One picture as uint8 (32, 32, 3), each new pixel the mean of those it covers.

    Raises:
        ValueError: it cannot be read.
    """
    import numpy
    from PIL import Image

    try:
        with Image.open(file) as picture:
            whole = picture.convert("RGB")
    except OSError as error:
        raise ValueError(f"{file}: no picture ({error})") from error
    width, height = whole.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side) if fitting == "crop" else (0, 0, width, height)
    if whole.size == (SIDE, SIDE):
        return numpy.asarray(whole)
    return numpy.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BOX, box=box))


def _write(file: Path, arrays: Arrays) -> None:
    """Keep the small pictures; where the folder cannot be written they are made again next time."""
    import numpy

    temporary = file.with_name(f".{uuid.uuid4().hex}.npz")
    with suppress(OSError):
        try:
            numpy.savez(temporary, allow_pickle=False, **{name: item.numpy() for name, item in vars(arrays).items()})
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


@cache
def _read(file: Path, changed: int) -> Arrays:
    import numpy
    import torch

    with numpy.load(file, allow_pickle=False) as content:
        return Arrays(**{name: torch.from_numpy(content[name]) for name in content.files})
