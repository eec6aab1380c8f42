"""Who changes the images that a step trains on, within bounds, so that the loss grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from workloads.contract import Config, Real

if TYPE_CHECKING:
    from torch import Tensor


class PGD(Config):
    r"""Projected gradient ascent on the loss within $\lVert x' - x \rVert_\infty \le \epsilon$ and $[0, 1]$.

    $x' \leftarrow \Pi(x' + \alpha\,\mathrm{sign}\,\nabla_{x'} L)$, `steps` times; with one step of $\alpha = \epsilon$
    and no random start it is FGSM. Source: Madry et al., arXiv:1706.06083, as Goldblum et al., arXiv:1910.00359, use
    it in section 5.
    """

    name: Literal["pgd"] = "pgd"
    epsilon: Real = Field(gt=0, le=1, description="In pixels scaled to [0, 1], before normalization: 8/255.")
    step: Real = Field(gt=0, description="alpha, likewise: 2/255.")
    steps: int = Field(gt=0)
    random_start: bool = Field(default=True, description="Begin anywhere in the ball, uniformly; else at the image.")
    mode: Literal["train", "eval"] = Field(
        default="train", description="Batch norm during the attack; in train its running statistics see these images."
    )

    def attack(self, pixels: Tensor, loss: Callable[[Tensor], Tensor], start: Tensor | None) -> Tensor:
        """The adversarial images of `pixels` (N, S*C, H, W).

        Args:
            loss: Of pixels, each network's mean loss (S,); only its gradient by the pixels is asked for.
            start: What to add to the pixels first, within epsilon; None for nothing.
        """
        import torch

        low, high = (pixels - self.epsilon).clamp(min=0), (pixels + self.epsilon).clamp(max=1)
        found = pixels if start is None else (pixels + start).clamp(0, 1)
        for _ in range(self.steps):
            found = found.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(found).sum(), found)
            found = torch.maximum(torch.minimum(found.detach() + self.step * gradient.sign(), high), low)
        return found.detach()


Adversary = Annotated[PGD, Field(discriminator="name")]
