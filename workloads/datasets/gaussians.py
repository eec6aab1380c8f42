"""Two clouds of points in the plane: the toy of Liu et al., whose decision boundaries can be drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

from workloads.contract import Real
from workloads.datasets.images import Arrays, Data, ImageData

if TYPE_CHECKING:
    import torch

MEAN, SIGMA = 0.2, 0.15


class Gaussians(ImageData):
    r"""Points of two normal laws in the plane, as "images" of two channels and one place; real numbers, not pixels.

    Class 0 is $N((0.2 - s, 0.2), 0.15^2)$, class 1 $N((0.2 + s, 0.2), 0.15^2)$ with the shift $s$. The points to train
    and to test on are the same for all seeds, as in the published code, whose own points are not used here.
    Source: Liu et al., arXiv:1906.02613, figure 1; github.com/chao1224/BadGlobalMinima_toy_example.
    """

    name: Literal["gaussians"] = "gaussians"
    per_class: int = Field(default=50, gt=0, description="Points of each class to train on; as many to test on.")
    shift: Real = Field(default=0.65, gt=0, description="s; the published code has 0.65 and 0.5 in a merge conflict.")
    noisy_copies: int = Field(
        default=0, ge=0, description="Augmentation: add so many copies of each point, moved by noise drawn once."
    )
    noise: Real = Field(default=0.1, gt=0, description="Standard deviation of that noise.")
    augment: Literal["none"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="none", description="Points are not cropped."
    )

    CLASSES: ClassVar[int] = 2
    SHAPE: ClassVar[tuple[int, int, int]] = (2, 1, 1)
    PIXELS: ClassVar[bool] = False
    MEAN: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    STD: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    def clean(self) -> Self:
        """The same points with their true labels, without noisy copies."""
        return super().clean().model_copy(update={"noisy_copies": 0})

    @property
    def drawn(self) -> bool:
        """Whether the points themselves depend on the seed."""
        return super().drawn or self.noisy_copies > 0

    def images(self) -> tuple[int, int]:
        """How many points there are to train on and to test on."""
        points = 2 * self.per_class
        chosen = points if self.subset is None else self.subset
        return (chosen * self.repeats + self.confusion) * (1 + self.noisy_copies), points

    def fingerprint(self, data_dir: Path) -> str:
        """All that they are is in the config."""
        return "drawn:two gaussians"

    def missing(self, data_dir: Path) -> str | None:
        """Nothing is needed."""
        return None

    def arrays(self, data_dir: Path) -> Arrays:
        """Drawn from the streams (0, "gaussians train") and (0, "gaussians test"); floats (N, 2, 1, 1)."""
        train, test = self._points("train"), self._points("test")
        return Arrays(*train, *test)

    def load(self, data_dir: Path, seed: int) -> Data:
        """What a training with this seed trains and tests on, the noisy copies behind the points.

        Raises:
            ValueError: more points are asked for than there are.
        """
        data = super().load(data_dir, seed)
        return self._with_copies(data, seed) if self.noisy_copies else data

    def _with_copies(self, data: Data, seed: int) -> Data:
        import torch

        from workloads.streams import generator

        x = data.train_x.repeat(self.noisy_copies, 1, 1, 1)
        x = x + self.noise * torch.randn(x.shape, generator=generator(seed, "noisy copies"))
        labels = data.train_y.repeat(1 + self.noisy_copies)
        return replace(data, train_x=torch.cat([data.train_x, x]), train_y=labels)

    def _points(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from workloads.streams import generator

        labels = torch.arange(2 * self.per_class) % 2
        stream = generator(0, f"gaussians {part}")
        points = MEAN + SIGMA * torch.randn(len(labels), 2, generator=stream, dtype=torch.float64)
        points[:, 0] += self.shift * (2 * labels - 1)
        return points.float().view(-1, 2, 1, 1), labels
