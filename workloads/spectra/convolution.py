r"""Singular values of convolutions as maps of whole images, by Fourier transform, and the way back to kernels.

The convolution wraps around the image's edges (circular padding), which is what the Fourier transform diagonalizes;
the zero-padded layer of a network is near it, not equal. At stride 1 the map acts at each frequency $f$ of the
(h, w) grid alone, as the matrix $K(f) = \sum_k w_k e^{-2 \pi i f \cdot k}$ (out, in). At stride $s$ the $s^2$
frequencies that are one on the output's grid act together, as $[K(f_1), \dots, K(f_{s^2})] / s$ (out, $s^2$ in).
Where the kernel lies relative to the pixel makes no difference: a circular shift of the image is orthogonal.
Source: Sedghi et al., arXiv:1805.10408, section 2, for stride 1; stride 2 is Goldblum et al.'s layers as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

Size = tuple[int, int]


def singular_values(weight: Tensor, size: Size, stride: int = 1) -> Tensor:
    """All singular values, largest first: (..., (h / s)(w / s) min(out, s^2 in)), float64 on the weight's device.

    Args:
        weight: (..., out, in, kh, kw). Dimensions before these are other convolutions: for one with groups,
            `weight.unflatten(0, (groups, -1))` gives those that it is made of.
        size: (h, w) of the images it is applied to; of the `map_size` where they are too small.

    Example:
        >>> singular_values(torch.tensor([[[[3.0]]]]), size=(1, 2))
        tensor([3., 3.], dtype=torch.float64)
    """
    matrices = frequency_matrices(weight, size, stride)
    width = matrices.shape[-3]
    half = torch.linalg.svdvals(matrices[..., : width // 2 + 1, :, :])  # (..., h / s, about w / 2s, rank)
    mirrored = half[..., 1 : (width + 1) // 2, :]  # a real kernel has K(-f) = conj K(f), of the same singular values
    found = torch.cat([half.flatten(-3), mirrored.flatten(-3)], -1)
    return found.sort(-1, descending=True).values


def frequency_matrices(weight: Tensor, size: Size, stride: int = 1) -> Tensor:
    """The blocks that the map is made of, in unitary Fourier bases: (..., h / s, w / s, out, s^2 in), complex128."""
    rows, columns = map_size(weight, size, stride)
    spectrum = torch.fft.fft2(weight.double(), s=(rows, columns))  # (..., out, in, h, w)
    aliases = spectrum.unflatten(-1, (stride, -1)).unflatten(-3, (stride, -1))  # (..., out, in, s, h', s, w')
    blocks = aliases.movedim((-3, -1), (-6, -5))  # (..., h', w', out, in, s, s)
    return blocks.flatten(-3) / stride


def kernel_of(matrices: Tensor, channels: int, stride: int = 1) -> Tensor:
    """The kernel, as large as the map, that `frequency_matrices` makes these of: (..., out, in, h, w), float64."""
    blocks = matrices.unflatten(-1, (channels, stride, stride)) * stride
    aliases = blocks.movedim((-6, -5), (-3, -1))
    return torch.fft.ifft2(aliases.flatten(-4, -3).flatten(-2, -1)).real


def map_size(weight: Tensor, size: Size, stride: int) -> Size:
    """The size, or the next larger one that holds the kernel and that the stride divides: others have no such form."""
    height, width = (-(-max(side, part) // stride) * stride for side, part in zip(size, weight.shape[-2:], strict=True))
    return height, width


def effective_rank(values: Tensor) -> Tensor:
    r"""$\lVert \sigma \rVert_1 / \lVert \sigma \rVert_2$ of singular values (..., n): (...), within 1 and $\sqrt{n}$.

    It does not change with the scale; of a map that is zero it is 0. Source: Goldblum et al., section 5.
    """
    norms = torch.linalg.vector_norm(values, dim=-1)
    return values.sum(-1) / norms.where(norms > 0, 1)
