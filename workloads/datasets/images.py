"""What all image data sets share: which images to train on, with which labels, corrupted and augmented how."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from workloads.contract import DatasetConfig

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Arrays:
    """A data set as published: images uint8 (N, C, H, W), labels int64 (N,); floats where they are no pixels."""

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor


@dataclass(frozen=True)
class Data(Arrays):
    """What is trained and tested on, after subset and corruption.

    Attributes:
        mean, std: Per channel, of pixels scaled to [0, 1]; subtracted and divided by before the network sees an image.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train_x.shape
        return channels, height, width


class ImageData(DatasetConfig):
    """The options of every image data set.

    They apply to the training part alone, in this order: subset, copies with zeroed entries and random labels,
    confusion. All is drawn once for each seed and then stays as it is in every epoch. The test part is never touched.
    """

    subset: int | None = Field(default=None, gt=0, description="Train on so many images, drawn once for each seed.")
    labels: Literal["true", "random"] = Field(default="true", description="Random ones are uniform over the classes.")
    copies: int = Field(
        default=0, ge=0, description="R: train on R copies of each image instead of itself, each corrupted on its own."
    )
    zero_out: float = Field(
        default=0.0, ge=0, le=1, description="Fraction of each image's entries (pixel and channel) set to 0, as uint8."
    )
    zero_out_of: Literal["entries", "pixels"] = Field(
        default="entries", description="pixels: whole ones, all channels, as the text of Liu et al. reads."
    )
    originals: bool = Field(
        default=False, description="Train on the images themselves too, behind their copies, labelled like them."
    )
    confusion: int = Field(
        default=0, ge=0, description="C: add so many further images of the training part, with random labels."
    )
    augment: Literal["none", "crop_flip"] = Field(
        default="none", description="crop_flip: pad by 4 zeros, crop at random, flip with probability 1/2."
    )
    normalize: bool = Field(
        default=True, description="Subtract the data set's mean and divide by its std, per channel."
    )

    ARRAYABLE: ClassVar[frozenset[str]] = frozenset({"labels", "zero_out"})
    CLASSES: ClassVar[int] = 10
    PIXELS: ClassVar[bool] = True  # uint8; else real numbers without bounds
    SIZES: ClassVar[tuple[int, int]]  # images to train on and to test on, where they are published
    SHAPE: ClassVar[tuple[int, int, int]]
    MEAN: ClassVar[tuple[float, ...]]
    STD: ClassVar[tuple[float, ...]]

    def clean(self) -> Self:
        """The same images with their true labels, not corrupted and not augmented."""
        return self.model_copy(
            update={"labels": "true", "copies": 0, "zero_out": 0.0, "confusion": 0, "augment": "none"}
            | {"zero_out_of": "entries", "originals": False}
        )

    @model_validator(mode="after")
    def _originals_of_copies(self) -> Self:
        if self.originals and not self.copies:
            raise ValueError("originals: there are no copies beside which they could be trained on; give copies")
        return self

    @property
    def drawn(self) -> bool:
        """Whether the images themselves, not only their labels, depend on the seed."""
        return self.subset is not None or self.confusion > 0 or self.zero_out > 0

    @property
    def repeats(self) -> int:
        """How often each image is trained on: its copies, and itself where that is asked for or there are none."""
        return max(self.copies + self.originals, 1)

    def images(self) -> tuple[int, int] | None:
        """How many images there are to train on and to test on, without looking; None if only the data can tell."""
        if not hasattr(self, "SIZES"):
            return None
        train, test = self.SIZES
        return (train if self.subset is None else self.subset) * self.repeats + self.confusion, test

    @abstractmethod
    def arrays(self, data_dir: Path) -> Arrays:
        """The whole data set."""

    def constants(self, data_dir: Path) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
        """Classes, and mean and std per channel of pixels in [0, 1]."""
        return self.CLASSES, self.MEAN, self.STD

    def load(self, data_dir: Path, seed: int) -> Data:
        """What a training with this seed trains and tests on.

        Raises:
            ValueError: more images are asked for than the training part has.
        """
        from workloads.datasets.corruption import train_part

        arrays = self.arrays(data_dir)
        classes, mean, std = self.constants(data_dir)
        x, y = train_part(self, arrays.train_x, arrays.train_y, classes, seed)
        if not self.normalize:
            mean, std = (0.0,) * len(mean), (1.0,) * len(std)
        return Data(x, y, arrays.test_x, arrays.test_y, mean, std, classes)
