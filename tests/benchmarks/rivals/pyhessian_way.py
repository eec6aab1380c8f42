"""Power iteration as PyHessian has it: every product walks through all batches, forwards, backwards and once more.

Written from its description: model in eval mode, gradients with a graph by backward(create_graph=True), sums over
batches weighted by their size, the vector divided by its norm plus 1e-6. What is added: the other end, by the same
iteration on the Hessian less the first eigenvalue (it has none of its own), and an end when the residual, which costs
nothing as the product is there, is what was asked for, where PyHessian asks for a small change of the eigenvalue.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PowerIteration:
    """The Hessian of the mean cross-entropy over batches."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, batch: int) -> None:
        self.model = model.eval()
        self.parameters = [*model.parameters()]
        self.batches = [*zip(images.split(batch), labels.split(batch), strict=True)]
        self.products = 0

    def product(self, vector: list[Tensor]) -> list[Tensor]:
        """H v, by a new graph for every batch."""
        self.products += 1
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        count = 0
        for x, y in self.batches:
            self.model.zero_grad()
            F.cross_entropy(self.model(x), y).backward(create_graph=True)
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            parts = torch.autograd.grad(gradients, self.parameters, vector)
            total = [one + part * len(y) for one, part in zip(total, parts, strict=True)]
            count += len(y)
            for parameter in self.parameters:
                parameter.grad = None  # or graph and gradient keep each other alive
        return [one / count for one in total]

    def end(self, start: Tensor, residual: float, most: int, shift: float = 0.0) -> tuple[float, float]:
        """The eigenvalue of H furthest from the shift, and its residual; H less the shift is what is iterated."""
        sizes = [parameter.numel() for parameter in self.parameters]
        vector = _normalized([part.view_as(it) for part, it in zip(start.split(sizes), self.parameters, strict=True)])
        value = apart = float("nan")
        for _ in range(most):
            product = self.product(vector)
            value = _dot(product, vector)
            apart = (
                sum((one - value * it).square().sum().item() for one, it in zip(product, vector, strict=True)) ** 0.5
            )
            if apart <= residual:
                break
            vector = _normalized([one - shift * it for one, it in zip(product, vector, strict=True)])
        return value, apart


def _dot(one: list[Tensor], other: list[Tensor]) -> float:
    return sum((a * b).sum().cpu().item() for a, b in zip(one, other, strict=True))


def _normalized(vector: list[Tensor]) -> list[Tensor]:
    length = _dot(vector, vector) ** 0.5
    return [part / (length + 1e-6) for part in vector]
