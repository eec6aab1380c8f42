"""Singular values of convolutions by Fourier transform, against the circulant matrices written out. Checks 3, 4, 26."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.spectra.convolution import effective_rank, frequency_matrices, kernel_of, map_size, singular_values


def kernel(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def circulant(weight: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """The matrix of the convolution that wraps around, a column for each entry of the image."""
    channels, (height, width) = weight.shape[1], weight.shape[-2:]
    images = torch.eye(channels * size[0] * size[1], dtype=torch.float64).view(-1, channels, *size)
    wrapped = images.repeat(1, 1, 2, 2)[..., : size[0] + height - 1, : size[1] + width - 1]
    return F.conv2d(wrapped, weight, stride=stride).flatten(1).T


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [
        ((4, 3, 3, 3), (8, 8), 1),
        ((3, 4, 3, 3), (8, 8), 2),
        ((12, 2, 3, 3), (6, 10), 2),
        ((2, 3, 1, 1), (4, 4), 2),
        ((3, 2, 3, 2), (5, 7), 1),
        ((2, 2, 3, 3), (9, 6), 3),
        ((2, 3, 5, 4), (6, 4), 2),
    ],
)
def test_singular_values_are_those_of_the_circulant_matrix(shape: tuple[int, ...], size: tuple[int, int], stride: int):
    """Check 3: to 6e-14; sizes may be odd and sides differ."""
    weight = kernel(*shape)
    slow = torch.linalg.svdvals(circulant(weight, size, stride))
    fast = singular_values(weight, size, stride)
    assert fast.shape == slow.shape
    assert (fast - slow).abs().max().item() < 6e-14


def test_the_squares_add_up_to_the_kernel_on_every_pixel():
    """Check 3: sum sigma^2 = n^2 |w|^2 at stride 1."""
    weight = kernel(5, 7, 3, 3)
    assert singular_values(weight, (8, 8)).square().sum().item() == pytest.approx(64 * weight.square().sum().item())


def test_bounds_from_the_reshaped_kernel_and_of_the_zero_padded_layer():
    """Check 3: the reshaped kernel's norm times 3 is above; zero-padded 8x8 images are a part of 10x10 ones."""
    weight = kernel(4, 3, 3, 3)
    reshaped = torch.linalg.matrix_norm(weight.flatten(1), 2).item()
    images = torch.eye(192, dtype=torch.float64).view(-1, 3, 8, 8)
    padded = torch.linalg.matrix_norm(F.conv2d(images, weight, padding=1).flatten(1), 2).item()
    assert reshaped < singular_values(weight, (8, 8))[0].item() < 3 * reshaped
    assert padded < singular_values(weight, (10, 10))[0].item()


def test_effective_rank_of_the_identity_and_of_one_direction():
    """Checks 3 and 26: sqrt(256) = 16 for 4 channels on 8x8, 1 for a map of rank one; the scale does not matter."""
    identity = torch.zeros(4, 4, 3, 3)
    identity[range(4), range(4), 1, 1] = 1
    values = singular_values(identity, (8, 8))
    torch.testing.assert_close(values, torch.ones(256, dtype=torch.float64))
    assert effective_rank(values).item() == pytest.approx(16)
    constant = torch.full((1, 1, 8, 8), 0.3)  # only the mean of the image passes
    assert effective_rank(singular_values(constant, (8, 8))).item() == pytest.approx(1)
    random = singular_values(kernel(3, 5, 3, 3), (8, 8))
    assert effective_rank(random).item() == pytest.approx(effective_rank(1e-3 * random).item())
    assert 1 <= effective_rank(random).item() <= math.sqrt(len(random))
    assert effective_rank(torch.zeros(2, 9)).tolist() == [0, 0]


def test_dimensions_before_are_other_convolutions():
    weight = kernel(2, 3, 4, 2, 3, 3)
    found = singular_values(weight, (6, 6), 2)
    assert found.shape == (2, 3, 9 * 4)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(found[i, j], singular_values(weight[i, j], (6, 6), 2))


@pytest.mark.parametrize(("size", "stride"), [((8, 8), 1), ((6, 8), 2), ((9, 6), 3), ((2, 3), 1)])
def test_the_matrices_lead_back_to_the_kernel(size: tuple[int, int], stride: int):
    weight = kernel(2, 4, 3, 3, 3)
    back = kernel_of(frequency_matrices(weight, size, stride), 3, stride)
    assert back.shape[-2:] == map_size(weight, size, stride)
    torch.testing.assert_close(back[..., :3, :3], weight)
    back[..., :3, :3] = 0
    assert back.abs().max().item() < 1e-14


@pytest.mark.parametrize(
    ("size", "stride", "larger"),
    [((7, 8), 2, (8, 8)), ((1, 1), 1, (3, 3)), ((1, 1), 2, (4, 4)), ((2, 5), 1, (3, 5))],
)
def test_images_that_are_too_small_count_as_the_next_larger(
    size: tuple[int, int], stride: int, larger: tuple[int, int]
):
    weight = kernel(2, 2, 3, 3)
    assert map_size(weight, size, stride) == larger
    assert torch.equal(singular_values(weight, size, stride), singular_values(weight, larger, stride))
