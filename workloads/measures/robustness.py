"""Accuracy on images that an adversary has changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.adversaries import PGD
from workloads.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.measures.snapshot import Snapshot

SOURCE = "Goodfellow et al., arXiv:1412.6572, as Liu et al., arXiv:1906.02613, figure 6"
CONVENTION = (
    "eval mode, for the attack too; test part; epsilon in pixels scaled to [0, 1], normalization behind the attack;"
    " clamped to [0, 1]; the signs of the cross-entropy's gradient, which sure networks do not hide"
)
BATCH = 500


@measure(source=SOURCE, unit="fraction in [0, 1]", convention=CONVENTION)
def fgsm_accuracy(snapshot: Snapshot, *, epsilon: float = 8 / 255) -> float:
    r"""Fraction right of $x + \epsilon\,\mathrm{sign}\,\nabla_x L(x, y)$ in $[0, 1]$; 0 leaves the images as they are.

    Raises:
        ValueError: epsilon is not within 0 and 1, or the data are no pixels.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"fgsm.epsilon: must be within 0 and 1, in pixels as 8/255, got {epsilon:g}")
    fgsm = PGD(epsilon=epsilon, step=epsilon, steps=1, random_start=False, mode="eval") if epsilon else None
    return _accuracy(snapshot, fgsm)


@measure(
    source="Madry et al., arXiv:1706.06083, as Goldblum et al., arXiv:1910.00359, table 5 (PGD-20)",
    unit="fraction in [0, 1]",
    convention=CONVENTION,
)
def pgd_accuracy(
    snapshot: Snapshot,
    *,
    epsilon: float = 8 / 255,
    step: float = 2 / 255,
    steps: int = 20,
    random_start: bool = True,
) -> float:
    r"""Fraction right after `steps` of $x' \leftarrow \Pi(x' + \alpha\,\mathrm{sign}\,\nabla_{x'} L(x', y))$.

    $\Pi$ leads back into $\lVert x' - x \rVert_\infty \le \epsilon$ and $[0, 1]$; the random start is uniform in the
    ball. The paper's step is a quarter of epsilon: 2/255 for 8/255, 0.25/255 for 1/255. The last $x'$ counts.

    Raises:
        ValueError: epsilon or the step is not above 0 and at most 1, there is no step, or the data are no pixels.
    """
    if not (0 < epsilon <= 1 and 0 < step <= 1 and steps >= 1):
        raise ValueError("pgd: wants epsilon and step above 0 and at most 1, in pixels as 8/255, and at least 1 step")
    return _accuracy(snapshot, PGD(epsilon=epsilon, step=step, steps=steps, random_start=random_start, mode="eval"))


@measure(source=SOURCE, unit="fraction in [0, 1]", convention=CONVENTION)
def fgsm_drop(snapshot: Snapshot, *, epsilon: float = 8 / 255, relative: bool = False) -> float:
    """Test accuracy less `fgsm_accuracy`; with `relative` over the test accuracy (nan where that is 0).

    Raises:
        ValueError: as `fgsm_accuracy`.
    """
    whole = fgsm_accuracy(snapshot, epsilon=0.0)
    lost = whole - fgsm_accuracy(snapshot, epsilon=epsilon)
    if not relative:
        return lost
    return lost / whole if whole else math.nan


def _accuracy(snapshot: Snapshot, adversary: PGD | None) -> float:
    """Fraction right of the test images as the adversary leaves them, or as they are."""
    data = snapshot.data
    if data.test_x.is_floating_point():
        raise ValueError("attack: epsilon is in pixels, and these data have none")
    blocks = zip(data.test_x.split(BATCH), data.test_y.split(BATCH), strict=True)
    return sum(_right(snapshot, adversary, index, x, y) for index, (x, y) in enumerate(blocks)) / len(data.test_y)


def _right(snapshot: Snapshot, adversary: PGD | None, block: int, x: Tensor, y: Tensor) -> int:
    import torch

    pixels, y = x.to(snapshot.device).float() / 255, y.to(snapshot.device)
    if adversary is not None:
        pixels = attacked(snapshot, adversary, block, pixels, y)
    with torch.no_grad():
        return int((logits(snapshot, pixels).argmax(1) == y).sum().item())


def attacked(snapshot: Snapshot, adversary: PGD, block: int, pixels: Tensor, y: Tensor) -> Tensor:
    """The adversary's images of pixels (N, C, H, W); a random start is of the trial's seed and the block's number."""
    import torch

    from workloads.streams import generator

    start = None
    if adversary.random_start:
        draws = torch.rand(pixels.shape, generator=generator(snapshot.seed, "pgd", block))
        start = (adversary.epsilon * (2 * draws - 1)).to(pixels)
    return adversary.attack(pixels, lambda inside: losses(snapshot, inside, y), start)


def logits(snapshot: Snapshot, pixels: Tensor) -> Tensor:
    """Of pixels in [0, 1], (N, C, H, W); differentiable in them."""
    mean, std = (pixels.new_tensor(item).view(1, -1, 1, 1) for item in (snapshot.data.mean, snapshot.data.std))
    return snapshot.model((pixels - mean) / std)


def losses(snapshot: Snapshot, pixels: Tensor, y: Tensor) -> Tensor:
    r"""The mean over images of $g = \log \sum_{k \ne y} e^{f_k - f_y}$, in float64: (1,).

    The cross-entropy is $\log(1 + e^g)$, which grows with g: its gradient by an image has the same signs. But it is 0
    in floating point where the network is sure; that of g is not.
    """
    import torch

    outputs = logits(snapshot, pixels).double()
    right = outputs.gather(1, y[:, None])
    others = outputs.scatter(1, y[:, None], -math.inf)
    return torch.logsumexp(others - right, 1).mean().unsqueeze(0)
