"""How far a network is from being affine on its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.measures.snapshot import Snapshot


@measure(
    source="Goldblum et al., arXiv:1910.00359, section 2 and table 1",
    unit="units of the layer",
    convention="eval mode; before the ReLU; training part without corruption; no augmentation; as float32 computes it",
)
def smallest_activation(snapshot: Snapshot) -> float:
    """The smallest number that enters a ReLU, over all units and training images; above 0 the network is affine there.

    It is nan where one of them is.

    Raises:
        ValueError: the network has no ReLU.
    """
    import torch

    from workloads.training.evaluation import logits, normalized

    data, noted = snapshot.data, _noting()
    with torch.no_grad(), noted:
        logits(snapshot.model, normalized(data.train_x.to(snapshot.device), data.mean, data.std))
    if not noted.smallest:
        raise ValueError("smallest_activation: the network has no ReLU")
    return float(torch.stack(noted.smallest).min())


def _noting() -> Any:
    """A mode of torch in which every ReLU, called as a function or as a layer, is noted."""
    import torch
    import torch.nn.functional as F
    from torch.overrides import TorchFunctionMode

    class Noting(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.smallest: list[Tensor] = []  # of each ReLU in turn; nan where one is

        def __torch_function__(
            self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None,
        ) -> Any:  # fmt: skip
            if func in (torch.relu, F.relu):
                self.smallest.append(args[0].min())
            return func(*args, **(kwargs or {}))

    return Noting()
