r"""Singular values of convolutions as maps of whole images, by Fourier transform, and kernels with changed ones.

The convolution wraps around the image's edges (circular padding), which is what the Fourier transform diagonalizes;
the zero-padded layer of a network is near it, not equal. At stride 1 the map acts at each frequency $f$ of the
(h, w) grid alone, as the matrix $K(f) = \sum_k w_k e^{-2 \pi i f \cdot k}$ (out, in). At stride $s$ the $s^2$
frequencies that are one on the output's grid act together, as $[K(f_1), \dots, K(f_{s^2})] / s$ (out, $s^2$ in).
Where the kernel lies relative to the pixel makes no difference: a circular shift of the image is orthogonal.
Source: Sedghi et al., arXiv:1805.10408, section 2, for stride 1; stride 2 is Goldblum et al.'s layers as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Size = tuple[int, int]


def singular_values(weight: Tensor, size: Size, stride: int = 1) -> Tensor:
    """All singular values, largest first: (..., (h / s)(w / s) min(out, s^2 in)), float64 on the weight's device.

    Args:
        weight: (..., out, in, kh, kw). Dimensions before these are other convolutions: for one with groups,
            `weight.unflatten(0, (groups, -1))` gives those that it is made of.
        size: Height and width of the images it is applied to.

    Raises:
        ValueError: the stride does not divide the size.

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


def with_singular_values(weight: Tensor, size: Size, stride: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The kernel of the map with `change`d singular values, cut to the kernel's own (kh, kw); the weight's dtype.

    The changed map needs a kernel as large as the image; the cut keeps its first kh x kw entries, as Sedghi et al.
    do. So the result's own singular values are near the changed ones, and equal for 1x1 kernels at stride 1 alone.
    Where the kernel is larger than the image, entries that come round to one place share its change equally.

    Args:
        weight, size: As for `singular_values`.
        change: Of singular values of any shape, to new ones: `lambda s: s.clamp(max=1.5)`.

    Raises:
        ValueError: the stride does not divide the size.
    """
    left, values, right = torch.linalg.svd(frequency_matrices(weight, size, stride), full_matrices=False)
    matrices = (left * change(values).to(left.dtype).unsqueeze(-2)) @ right
    wanted = torch.fft.ifft2(_unfolded(matrices, weight.shape[-3], stride)).real
    rows, columns = (torch.arange(count, device=weight.device) for count in weight.shape[-2:])
    places = (..., rows[:, None] % size[0], columns % size[1])
    shares = _wrapped(torch.ones_like(weight, dtype=torch.float64), size)  # of entries that wrap onto one place
    difference = (wanted - _wrapped(weight.double(), size))[places] / shares[places]
    return (weight + difference).to(weight.dtype)


def frequency_matrices(weight: Tensor, size: Size, stride: int = 1) -> Tensor:
    """The blocks that the map is made of, in unitary Fourier bases: (..., h / s, w / s, out, s^2 in), complex128.

    Raises:
        ValueError: the stride does not divide the size.
    """
    if size[0] % stride or size[1] % stride:
        raise ValueError(f"stride {stride} does not divide images of {size[0]}x{size[1]}, so it does not wrap around")
    spectrum = torch.fft.fft2(_wrapped(weight.double(), size))  # (..., out, in, h, w)
    height, width = size[0] // stride, size[1] // stride
    aliases = spectrum.unflatten(-1, (stride, width)).unflatten(-3, (stride, height))  # (..., out, in, s, h', s, w')
    blocks = aliases.movedim((-3, -1), (-6, -5))  # (..., h', w', out, in, s, s)
    return blocks.flatten(-3) / stride


def effective_rank(values: Tensor) -> Tensor:
    r"""$\lVert \sigma \rVert_1 / \lVert \sigma \rVert_2$ of singular values (..., n): (...), within 1 and $\sqrt{n}$.

    It does not change with the scale; of a map that is zero it is 0. Source: Goldblum et al., section 6.
    """
    norms = torch.linalg.vector_norm(values, dim=-1)
    return values.sum(-1) / norms.where(norms > 0, 1)


def _wrapped(weight: Tensor, size: Size) -> Tensor:
    """The kernel on a grid of the image's size; what is larger than that comes round again."""
    *_, height, width = weight.shape
    rows = torch.zeros(*weight.shape[:-2], size[0], width, dtype=weight.dtype, device=weight.device)
    rows.index_add_(-2, torch.arange(height, device=weight.device) % size[0], weight)
    grid = torch.zeros(*weight.shape[:-2], *size, dtype=weight.dtype, device=weight.device)
    return grid.index_add_(-1, torch.arange(width, device=weight.device) % size[1], rows)


def _unfolded(matrices: Tensor, channels: int, stride: int) -> Tensor:
    """(..., h / s, w / s, out, s^2 in) -> the spectrum (..., out, in, h, w); `frequency_matrices` backwards."""
    blocks = matrices.unflatten(-1, (channels, stride, stride)) * stride
    aliases = blocks.movedim((-6, -5), (-3, -1))
    return aliases.flatten(-4, -3).flatten(-2, -1)
