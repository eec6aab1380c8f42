"""Kernels whose convolution has other singular values: small ones taken away, or large ones cut."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workloads.spectra.convolution import frequency_matrices, kernel_of

Factor = Callable[[Tensor], Tensor]


@torch.no_grad()
def without_small(kernel: Tensor, size: tuple[int, int], stride: int, threshold: float) -> Tensor:
    """RankMin: singular values below the threshold become 0; a kernel (out, in, h, w) of the same shape and type."""
    return _truncated(kernel, size, stride, lambda sigma: (sigma >= threshold).to(sigma.dtype))


@torch.no_grad()
def without_large(kernel: Tensor, size: tuple[int, int], stride: int, threshold: float) -> Tensor:
    """RankMax: singular values above the threshold become the threshold; likewise."""
    return _truncated(kernel, size, stride, lambda sigma: threshold / sigma.clamp(min=threshold))


def _truncated(kernel: Tensor, size: tuple[int, int], stride: int, factor: Factor) -> Tensor:
    """The first h x w entries: what the others hold is lost, and with it the exactness (Sedghi et al., section 4)."""
    height, width = kernel.shape[2:]
    return rescaled(kernel, size, stride, factor)[:, :, :height, :width].to(kernel.dtype)


def rescaled(kernel: Tensor, size: tuple[int, int], stride: int, factor: Factor) -> Tensor:
    r"""The kernel, as large as the map, whose convolution has $\sigma f(\sigma)$ where this one has $\sigma$.

    Of each matrix K that the map is made of, with $K^* K = V \Lambda V^*$, it is $K V f(\Lambda^{1/2}) V^*$.
    Source: Sedghi et al., arXiv:1805.10408, sections 2 and 4, in Goldblum et al., arXiv:1910.00359, section 5.

    Args:
        kernel: (out, in, h, w).
        factor: f, of singular values of any shape.

    Returns:
        (out, in, H, W), float64, with H x W the `map_size`.
    """
    matrices = frequency_matrices(kernel, size, stride)
    return kernel_of(_scale(matrices, factor), kernel.shape[1], stride)


def _scale(blocks: Tensor, factor: Factor) -> Tensor:
    """Matrices (..., m, n) with each singular value times its factor; by the smaller of the two Gram matrices."""
    if blocks.shape[-2] < blocks.shape[-1]:
        return _scale(blocks.mH, factor).mH
    squares, vectors = torch.linalg.eigh(blocks.mH @ blocks)
    factors = factor(squares.clamp(min=0).sqrt())
    return blocks @ (vectors * factors[..., None, :]) @ vectors.mH
