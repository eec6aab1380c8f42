"""The convolutions of a network as maps of images: the size of the images each one is taken to be a map of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn

    from workloads.measures.snapshot import Snapshot

GRIDS = ("input", "published")
"""input: of the size that the layer sees, with its stride.

published: 7/4 of the layer's output, stride ignored, the first layer on the image itself. On 32x32 images this gives
the 56, 28, 14 and 7 that the published code took from ImageNet; only for comparison with its figure.
"""


class Gridded(NamedTuple):
    """One convolution.

    Attributes:
        name: As in `named_modules`.
        size: Height and width of the images it is a map of.
        stride: Of the map.
    """

    name: str
    layer: nn.Conv2d
    size: tuple[int, int]
    stride: int


def convolutions(snapshot: Snapshot, grid: str) -> list[Gridded]:
    """All of them, in the order of use.

    Raises:
        ValueError: there is no such grid.
    """
    from torch import nn

    from workloads.measures.spectral import sized_layers

    if grid not in GRIDS:
        raise ValueError(f"grid: one of {', '.join(GRIDS)}, got {grid!r}")
    names = {layer: name for name, layer in snapshot.model.named_modules()}
    found: list[Gridded] = []
    for layer, (_, *sides) in sized_layers(snapshot):
        if not isinstance(layer, nn.Conv2d):
            continue
        height, width = sides
        if grid == "input":
            found.append(Gridded(names[layer], layer, (height, width), layer.stride[0]))
        elif not found:
            found.append(Gridded(names[layer], layer, (height, width), 1))
        else:
            size = _published(height, layer.stride[0]), _published(width, layer.stride[0])
            found.append(Gridded(names[layer], layer, size, 1))
    return found


def _published(side: int, stride: int) -> int:
    output = -(-side // stride)
    return max(1, round(7 / 4 * output))
