"""What a training minimizes: the mean over images of one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from workloads.contract import Config

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Config):
    r"""$-\log \mathrm{softmax}(f)_y$, in nats; $\log K$ where all logits are equal."""

    name: Literal["cross_entropy"] = "cross_entropy"

    def per_image(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(..., K) logits and (...) labels -> (...)."""
        import torch.nn.functional as F

        flat = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none")
        return flat.view(labels.shape)


class Square(Config):
    r"""$\sum_k (f_k - [k = y])^2$: the square of the distance to the one-hot label, without a factor 1/2.

    Source: Banburski et al., Theory III: Dynamics and Generalization in Deep Networks, section 3.
    """

    name: Literal["square"] = "square"

    def per_image(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(..., K) logits and (...) labels -> (...)."""
        import torch.nn.functional as F

        return (logits - F.one_hot(labels, logits.shape[-1])).square().sum(-1)


class Exponential(Config):
    r"""$\sum_{k \ne y} e^{-(f_y - f_k)}$; with two classes the exponential loss of the margin.

    Source: Banburski et al., Theory III: Dynamics and Generalization in Deep Networks, section 3.
    """

    name: Literal["exponential"] = "exponential"

    def per_image(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(..., K) logits and (...) labels -> (...)."""
        import torch
        import torch.nn.functional as F

        right = logits.gather(-1, labels[..., None])
        return (torch.exp(logits - right) * (1 - F.one_hot(labels, logits.shape[-1]))).sum(-1)


Loss = Annotated[CrossEntropy | Square | Exponential, Field(discriminator="name")]
