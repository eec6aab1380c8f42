"""Kernels whose convolution has other singular values: small ones taken away, or large ones cut."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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

    The convolution is circular on maps of `size`, of which a stride s keeps every s-th row and column. Frequency by
    frequency it is a matrix K: of stride s, those of the s^2 frequencies that fall together, side by side, over s.
    With $K^* K = V \Lambda V^*$ it becomes $K V f(\Lambda^{1/2}) V^*$. A map smaller than the kernel counts as one of
    the kernel's size, and one that the stride does not divide as the next larger: there is no circular form of them.
    Source: Sedghi et al., arXiv:1805.10408, sections 2 and 4, in Goldblum et al., arXiv:1910.00359, section 5.

    Args:
        kernel: (out, in, h, w).
        factor: f, of singular values of any shape.

    Returns:
        (out, in, H, W), float64, with H x W the size of the map.
    """
    rows, columns = (-(-max(side, part) // stride) * stride for side, part in zip(size, kernel.shape[2:], strict=True))
    half = stride == 1  # a real kernel's other frequencies are conjugates of these
    to_frequencies, back = (torch.fft.rfft2, torch.fft.irfft2) if half else (torch.fft.fft2, torch.fft.ifft2)
    spectrum = to_frequencies(kernel.double(), s=(rows, columns))
    folded = spectrum.unflatten(3, (stride, -1)).unflatten(2, (stride, -1))  # out, in, i, a, j, b
    blocks = folded.permute(3, 5, 0, 1, 2, 4).flatten(3) / stride
    changed = (_scale(blocks, factor) * stride).unflatten(3, (-1, stride, stride))  # a, b, out, in, i, j
    unfolded = changed.permute(2, 3, 4, 0, 5, 1).flatten(4).flatten(2, 3)
    return back(unfolded, s=(rows, columns)).real


def _scale(blocks: Tensor, factor: Factor) -> Tensor:
    """Matrices (..., m, n) with each singular value times its factor; by the smaller of the two Gram matrices."""
    if blocks.shape[-2] < blocks.shape[-1]:
        return _scale(blocks.mH, factor).mH
    squares, vectors = torch.linalg.eigh(blocks.mH @ blocks)
    factors = factor(squares.clamp(min=0).sqrt())
    return blocks @ (vectors * factors[..., None, :]) @ vectors.mH
