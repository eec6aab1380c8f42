"""What every start is and does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from workloads.contract import Config, Context

if TYPE_CHECKING:
    from torch import Tensor, nn

    from workloads.datasets.images import Data


class TrainingStart(Config):
    """The base of all starts.

    `GIVES_MODEL`: a training that starts so has the model of the stage it starts from, and need not name one.
    """

    GIVES_MODEL: ClassVar[bool] = False

    @abstractmethod
    def begin(self, build: Callable[[], nn.Module], data: Data, context: Context) -> Mapping[str, Tensor]:
        """Parameters and buffers before the first step, by name, on the CPU; `build` makes the network, unset."""

    def accept(self, model: Config | None, theirs: Config) -> None:
        """Look at the model of the training and at that of the stage it starts from, where it names one.

        Raises:
            ValueError: it cannot start from there.
        """
