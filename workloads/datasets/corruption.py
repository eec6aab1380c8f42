"""Corruption of a training part: subsets, random labels, zeroed entries, confusion sets. All from named streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workloads.streams import generator

if TYPE_CHECKING:
    from workloads.datasets.images import ImageData


def train_part(options: ImageData, x: Tensor, y: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """The images and labels to train on.

    Args:
        x: Images, uint8 (N, C, H, W).
        y: Labels, int64 (N,).

    Raises:
        ValueError: `subset` and `confusion` together want more than N images.
    """
    size = len(x) if options.subset is None else options.subset
    if size + options.confusion > len(x):
        raise ValueError(
            f"subset {size} and confusion {options.confusion} want {size + options.confusion} images;"
            f" the training part of {options.name} has {len(x)}"  # pyright: ignore[reportAttributeAccessIssue]
        )
    order = torch.randperm(len(x), generator=generator(seed, "subset"))
    images, labels = x, y
    if options.subset is not None:
        chosen = order[:size].sort().values
        images, labels = x[chosen], y[chosen]
    originals = len(images) * options.originals
    if options.copies:
        images, labels = images.repeat(options.repeats, 1, 1, 1), labels.repeat(options.repeats)
    if options.labels == "random":
        labels = random_labels(len(images), classes, seed, "labels")
    if options.zero_out:
        corrupted = len(images) - originals
        zeroed = zero_out(images[:corrupted], options.zero_out, seed, whole=options.zero_out_of == "pixels")
        images = torch.cat([zeroed, images[corrupted:]]) if originals else zeroed
    if options.confusion:
        further = order[size : size + options.confusion]
        images = torch.cat([images, x[further]])
        labels = torch.cat([labels, random_labels(options.confusion, classes, seed, "confusion")])
    return images, labels


def random_labels(count: int, classes: int, seed: int, purpose: str) -> Tensor:
    """Uniform over the classes, int64 (count,)."""
    return torch.randint(classes, (count,), generator=generator(seed, purpose))


def zero_out(x: Tensor, fraction: float, seed: int, whole: bool = False) -> Tensor:
    """Each image with int(fraction * C * H * W) of its entries, drawn without replacement, set to 0.

    Entries, not pixels, and before normalization, as the authors' code does it (Liu et al., arXiv:1906.02613); with
    `whole` it is int(fraction * H * W) pixels, all channels of each.
    """
    flat = x.flatten(2 if whole else 1).clone()
    count = int(flat.shape[-1] * fraction)
    stream = generator(seed, "zero_out")
    for start in range(0, len(flat), 1000):  # in pieces: the ranks of 50,000 images at once are 600 MB
        block = flat[start : start + 1000]
        ranks = torch.rand((len(block), block.shape[-1]), generator=stream).argsort(dim=1, stable=True)  # floats tie
        chosen = ranks[:, :count]
        block.scatter_(-1, chosen[:, None].expand(-1, block.shape[1], -1) if whole else chosen, 0)
    return flat.view_as(x)
