"""The images that S networks train on: on the device as uint8, gathered and augmented there in whole batches."""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.datasets.augmentation import augmented
from workloads.datasets.images import Data
from workloads.training.evaluation import scale_and_shift, unit


class Pool:
    """Images (M, C, H, W) and labels (S, N); network s has the images from row offsets[s] on.

    Pixels are uint8, what is no picture is float32. Networks whose images are the same share them: M is N then, else
    S * N.
    """

    def __init__(self, data: Data, size: int, own: bool, device: str, dtype: torch.dtype) -> None:
        self.size, self.count, self.own, self.dtype = size, len(data.train_y), own, dtype
        source = data.train_x.to(device)
        self.images = source.repeat(size, 1, 1, 1) if self.own else source
        self.labels = torch.zeros(size, self.count, dtype=torch.int64, device=device)
        step = self.count if self.own else 0
        self.offsets = torch.arange(size, device=device)[:, None] * step
        factors = scale_and_shift(data.mean, data.std, dtype, device, unit(source))
        self.scale, self.shift = (item.repeat(1, size, 1, 1) for item in factors)

    def fill(self, slot: int, data: Data) -> None:
        """Give a network its images and labels.

        Raises:
            ValueError: they are not as many as the other networks have.
        """
        if len(data.train_y) != self.count:
            raise ValueError(f"{len(data.train_y)} images to train on, where the array has {self.count}")
        self.labels[slot] = data.train_y.to(self.labels.device)
        if self.own:
            begin = int(self.offsets[slot])
            self.images[begin : begin + self.count] = data.train_x.to(self.images.device)

    def take(self, slots: Tensor) -> Pool:
        """The pool of some of the networks; the images stay where they are."""
        taken = object.__new__(Pool)
        taken.__dict__.update(self.__dict__)
        taken.size, taken.labels = len(slots), self.labels[slots]
        taken.offsets = self.offsets[slots]
        channels = len(slots) * self.images.shape[1]
        taken.scale, taken.shift = self.scale[:, :channels], self.shift[:, :channels]
        return taken

    def batch(self, rows: Tensor, draws: Tensor | None) -> Tensor:
        """uint8 (B, S*C, H, W): for each network the images of its rows (S, B), augmented by its draws (S, B, 3)."""
        flat = (rows + self.offsets).T.reshape(-1)
        if draws is None:
            images = self.images.index_select(0, flat)
        else:
            images = augmented(self.images, flat, draws.transpose(0, 1).reshape(-1, 3))
        return images.view(rows.shape[1], -1, *images.shape[2:])

    def block(self, begin: int, end: int) -> Tensor:
        """uint8 (B, S*C, H, W): each network's images from `begin` to `end`, not augmented."""
        rows = torch.arange(begin, min(end, self.count), device=self.images.device).expand(self.size, -1)
        return self.batch(rows, None)

    def labels_of(self, rows: Tensor) -> Tensor:
        """(S, B): the labels of each network's rows."""
        return self.labels.gather(1, rows)

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 (B, S*C, H, W) -> floats, less the mean and over the std of each channel."""
        return images.to(self.dtype).mul_(self.scale).add_(self.shift)

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 (B, S*C, H, W) -> floats in [0, 1]."""
        return images.to(self.dtype).div_(255)

    def normalized_pixels(self, pixels: Tensor) -> Tensor:
        """The same of floats in [0, 1]; differentiable in them."""
        return pixels * (self.scale * 255) + self.shift
