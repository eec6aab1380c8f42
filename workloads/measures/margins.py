"""Margins: how far the right logit is above the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.measures.snapshot import Snapshot

CONVENTION = "eval mode; training part without corruption; signed: negative where the label is not the largest logit"


@measure(source="Neyshabur et al., arXiv:1706.08947, section 2; Liu et al., arXiv:1906.02613",
         unit="logits", convention=CONVENTION)  # fmt: skip
def margin(snapshot: Snapshot, *, percentile: float = 0.0) -> float:
    r"""The percentile over images of $f_y(x) - \max_{j \ne y} f_j(x)$, interpolated linearly; 0 is the smallest.

    Raises:
        ValueError: the percentile is not within 0 and 100.
    """
    import torch

    from workloads.training.evaluation import logits, normalized

    if not 0 <= percentile <= 100:
        raise ValueError(f"margin.percentile: must be within 0 and 100, got {percentile:g}")
    data = snapshot.data
    with torch.no_grad():
        images = normalized(data.train_x.to(snapshot.device), data.mean, data.std)
        found = margins(logits(snapshot.model, images).double().cpu(), data.train_y)
    return torch.quantile(found, percentile / 100).item()


def margins(outputs: Tensor, labels: Tensor) -> Tensor:
    r"""$f_y - \max_{j \ne y} f_j$ of logits (N, classes) and labels (N,): (N,).

    Example:
        >>> import torch
        >>> margins(torch.tensor([[2.0, 1.0, 0.0]] * 3), torch.tensor([0, 1, 2])).tolist()
        [1.0, -1.0, -2.0]
    """
    right = outputs.gather(1, labels[:, None])
    others = outputs.scatter(1, labels[:, None], -math.inf)
    return right[:, 0] - others.max(1).values
