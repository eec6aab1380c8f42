"""RankMin and RankMax: convolutions whose singular values are cut off from below or from above, between epochs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workloads.contract import Real
from workloads.events.base import TimedEvent, Trainee

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.spectra.grids import Gridded


class RankEvent(TimedEvent):
    """The base of the two.

    Each kernel is changed once, as the circular convolution that it is, and its size is then restored by dropping what
    lies outside of it: the singular values come near the threshold and do not reach it. Depthwise convolutions, whose
    channels are apart, are left alone.
    """

    layers: Literal["inner", "all"] = Field(
        default="inner", description="inner: as published, without the first convolution and those of 1x1; all."
    )
    grid: Literal["input", "published"] = Field(
        default="input",
        description="input: the size and stride that the layer has; published: 7/4 of its output, no stride.",
    )

    def apply(self, trainee: Trainee) -> Mapping[str, float]:
        """In float64, rounded to the network's own type."""
        parameters = trainee.parameters
        for found in self._convolutions(trainee):
            kernel = parameters[f"{found.name}.weight"]
            if not kernel.isfinite().all():  # it has diverged, which is an outcome: the next epoch's loss says so
                continue
            kernel.copy_(self.changed(kernel, found.size, found.stride))
        return {}

    @abstractmethod
    def changed(self, kernel: Tensor, size: tuple[int, int], stride: int) -> Tensor:
        """The kernel (out, in, h, w) with other singular values on maps of `size`."""

    def _convolutions(self, trainee: Trainee) -> Iterator[Gridded]:
        """Those that are changed."""
        from workloads.spectra.grids import convolutions

        for index, found in enumerate(convolutions(trainee.snapshot(), self.grid)):
            outer = index == 0 or found.layer.kernel_size == (1, 1)
            if found.layer.groups == 1 and (not outer or self.layers == "all"):
                yield found


class RankMin(RankEvent):
    """Singular values below the threshold become 0.

    Source: Goldblum et al., arXiv:1910.00359, section 5 and table 5.
    """

    name: Literal["rank_min"] = "rank_min"
    threshold: Real = Field(default=0.5, gt=0)

    def changed(self, kernel: Tensor, size: tuple[int, int], stride: int) -> Tensor:
        """The kernel (out, in, h, w) without its small singular values on maps of `size`."""
        from workloads.spectra.truncation import without_small

        return without_small(kernel, size, stride, self.threshold)


class RankMax(RankEvent):
    """Singular values above the threshold become the threshold, so that more of them count.

    Source: Goldblum et al., arXiv:1910.00359, section 5 and table 5.
    """

    name: Literal["rank_max"] = "rank_max"
    threshold: Real = Field(default=1.5, gt=0)

    def changed(self, kernel: Tensor, size: tuple[int, int], stride: int) -> Tensor:
        """The kernel (out, in, h, w) with its large singular values cut on maps of `size`."""
        from workloads.spectra.truncation import without_large

        return without_large(kernel, size, stride, self.threshold)
