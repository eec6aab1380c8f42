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
    " clamped to [0, 1]; the gradient's sign from the log odds, so that sure networks hide none"
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
    return snapshot.memo(("fgsm", epsilon), lambda: _accuracy(snapshot, fgsm))


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
def fgsm_drop(snapshot: Snapshot, *, epsilon: float = 8 / 255) -> float:
    """Test accuracy less `fgsm_accuracy`.

    Raises:
        ValueError: as `fgsm_accuracy`.
    """
    return fgsm_accuracy(snapshot, epsilon=0.0) - fgsm_accuracy(snapshot, epsilon=epsilon)


@measure(source=SOURCE, unit="fraction in [0, 1]", convention=CONVENTION)
def fgsm_relative_drop(snapshot: Snapshot, *, epsilon: float = 8 / 255) -> float:
    """`fgsm_drop` over the test accuracy; nan where that is 0.

    Raises:
        ValueError: as `fgsm_accuracy`.
    """
    whole = fgsm_accuracy(snapshot, epsilon=0.0)
    return fgsm_drop(snapshot, epsilon=epsilon) / whole if whole else math.nan


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
    return adversary.attack(pixels, lambda inside: log_odds(snapshot, inside, y), start)


def logits(snapshot: Snapshot, pixels: Tensor) -> Tensor:
    """Of pixels in [0, 1], (N, C, H, W); differentiable in them."""
    mean, std = (pixels.new_tensor(item).view(1, -1, 1, 1) for item in (snapshot.data.mean, snapshot.data.std))
    return snapshot.model((pixels - mean) / std)


def log_odds(snapshot: Snapshot, pixels: Tensor, y: Tensor) -> Tensor:
    r"""Mean of $\log\frac{1 - p_y}{p_y} = \log \sum_{j \ne y} e^{z_j} - z_y$ of the logits z: (1,).

    It rises with the cross-entropy $-\log p_y$, so that both have the same direction of steepest ascent; but it has
    a gradient also where p_y is 1 in floating point and the cross-entropy has none left.
    """
    import torch

    z = logits(snapshot, pixels).double()
    own = torch.nn.functional.one_hot(y, z.shape[1]).bool()
    return (z.masked_fill(own, -torch.inf).logsumexp(1) - z[own]).mean().unsqueeze(0)
