"""How large a network is, worked out from its config without torch: for forecasts of what a training costs."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int, int]

VGG16_STACKS = (1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8)
"""Channels of the convolutions of each stack of VGG-16, as multiples of the width."""

INCEPTION = (2, 2), (2, 3), 5, (7, 3), (6, 4), (5, 5), (3, 6), 6, (11, 10), (11, 10)
"""Channels in sixths of the stem's: of the 1x1 and the 3x3 branch, or of the convolution of a downsampling."""

MOBILENET_V2 = (1, 2, 1, 1), (6, 3, 2, 1), (6, 4, 3, 2), (6, 8, 4, 2), (6, 12, 3, 1), (6, 20, 3, 2), (6, 40, 1, 1)
"""Of each stage: expansion, channels in quarters of the stem's, blocks, stride of the first."""


@dataclass(frozen=True)
class Size:
    """What a network is made of.

    Attributes:
        multiply_adds: Of its convolutions and linear layers, forward, for one image.
        numbers: Parameters and buffers that its state dict holds.
    """

    multiply_adds: int
    numbers: int


@dataclass
class Layers:
    """The layers that maps of one shape go through, counted one after the other.

    Attributes:
        channels, height, width: What the last layer leaves.
    """

    channels: int
    height: int
    width: int
    multiply_adds: int = 0
    numbers: int = 0

    def convolution(
        self, channels: int, kernel: int = 3, stride: int = 1, *, bias: bool = False, norm: int = 0, groups: int = 1
    ) -> None:
        """A convolution padded by half its kernel; batch norm behind it has `norm` numbers a channel, usually 4."""
        self.halve(stride)
        weights = channels * (self.channels // groups) * kernel**2
        self._add(weights, self.height * self.width, channels * (bias + norm))
        self.channels = channels

    def shortcut(self, channels: int, stride: int, *, bias: bool = False, norm: int = 0) -> None:
        """A 1x1 convolution around what follows: it counts, and leaves the maps as they are for that."""
        height, width = -(-self.height // stride), -(-self.width // stride)
        self._add(channels * self.channels, height * width, channels * (bias + norm))

    def norm(self) -> None:
        """Batch norm by itself: gamma, beta and the running mean and variance."""
        self.numbers += 4 * self.channels

    def linear(self, units: int, norm: int = 0) -> None:
        """A linear layer with bias on all that there is."""
        self._add(units * self.channels * self.height * self.width, 1, units * (1 + norm))
        self.channels, self.height, self.width = units, 1, 1

    def halve(self, stride: int = 2) -> None:
        """What a stride leaves of padded maps."""
        self.height, self.width = -(-self.height // stride), -(-self.width // stride)

    def pool(self, window: int) -> None:
        """A pool over windows side by side, none larger than the map."""
        self.height //= min(window, self.height)
        self.width //= min(window, self.width)

    def pool_all(self) -> None:
        """A pool over the whole map."""
        self.height = self.width = 1

    def _add(self, weights: int, places: int, further: int) -> None:
        self.multiply_adds += weights * places
        self.numbers += weights + further
