"""Augmentation in batches, against the same done to one image at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.datasets.augmentation import PAD, augmented, crop_flip, draw_crop_flip
from workloads.streams import generator

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 5, 9)]


def one_by_one(images: Tensor, rows: Tensor, draws: Tensor) -> Tensor:
    """The slow twin."""
    made = []
    _, _, height, width = images.shape
    for index, (row, column, flip) in zip(rows.tolist(), draws.tolist(), strict=True):
        padded = F.pad(images[index], (PAD,) * 4)
        crop = padded[:, row : row + height, column : column + width]
        made.append(crop.flip(2) if flip else crop)
    return torch.stack(made)


def some_images(count: int, shape: tuple[int, int, int], dtype: torch.dtype = torch.uint8) -> Tensor:
    """Without zeros, so that padding cannot be mistaken for them."""
    return torch.randint(1, 256, (count, *shape), generator=generator(0, "images")).to(dtype)


def every_draw() -> Tensor:
    """All 9 x 9 x 2 of them."""
    return torch.cartesian_prod(torch.arange(2 * PAD + 1), torch.arange(2 * PAD + 1), torch.arange(2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.int64])
def test_every_crop_and_mirror_of_every_shape_and_dtype(shape: tuple[int, int, int], dtype: torch.dtype):
    images, draws = some_images(20, shape, dtype), every_draw()
    rows = torch.randint(20, (len(draws),), generator=generator(0, "rows"))
    made = augmented(images, rows, draws)
    assert made.dtype == dtype
    assert made.shape == (len(draws), *shape)
    assert torch.equal(made, one_by_one(images, rows, draws))


@pytest.mark.parametrize("draw", [(0, 0, 0), (8, 8, 1), (8, 8, 0), (4, 4, 0), (0, 8, 1)])
def test_a_batch_of_one_image_at_the_edges(draw: tuple[int, int, int]):
    images, rows, draws = some_images(3, (3, 32, 32)), torch.tensor([2]), torch.tensor([draw])
    assert torch.equal(augmented(images, rows, draws), one_by_one(images, rows, draws))


def test_in_the_middle_and_not_mirrored_it_is_the_image_itself():
    images = some_images(4, (3, 32, 32))
    draws = torch.tensor([[PAD, PAD, 0]]).expand(4, 3)
    assert torch.equal(augmented(images, torch.arange(4), draws), images)


def test_rows_and_draws_and_images_may_lie_anyhow_in_memory():
    rows = torch.arange(40)[::3]
    draws = draw_crop_flip(40, generator(0, "augment"))[::3]
    columns_first = draws.T.contiguous().T
    channels_last = some_images(40, (3, 32, 32)).contiguous(memory_format=torch.channels_last)
    halves = some_images(80, (3, 32, 32))[::2]
    for images in (channels_last, halves):
        expected = one_by_one(images, rows, draws)
        assert torch.equal(augmented(images, rows, draws), expected)
        assert torch.equal(augmented(images, rows, columns_first), expected)


def test_an_image_may_be_asked_for_twice_and_is_left_alone():
    images = some_images(2, (1, 8, 8))
    before, rows = images.clone(), torch.tensor([1, 1, 0, 1])
    draws = torch.tensor([[0, 0, 1], [8, 3, 0], [2, 2, 1], [0, 0, 1]])
    made = augmented(images, rows, draws)
    assert torch.equal(made, one_by_one(images, rows, draws))
    made.zero_()
    assert torch.equal(images, before)


def test_what_it_returns_can_be_seen_as_the_channels_of_several_networks():
    images, draws = some_images(12, (3, 8, 8)), draw_crop_flip(12, generator(0, "augment"))
    made = augmented(images, torch.arange(12), draws)
    side_by_side = made.view(4, 9, 8, 8)
    assert torch.equal(side_by_side[1, 3:6], made[4])
    assert side_by_side.float().is_contiguous()


def test_crop_flip_is_augmented_of_all_rows():
    images, draws = some_images(10, (3, 32, 32)), draw_crop_flip(10, generator(0, "augment"))
    assert torch.equal(crop_flip(images, draws), augmented(images, torch.arange(10), draws))


def test_its_shapes_depend_on_no_value_and_it_waits_for_no_value():
    """On the meta device a tensor has no values to wait for: what needs one there fails."""
    images, rows = torch.empty(10, 3, 32, 32, dtype=torch.uint8, device="meta"), torch.empty(4, device="meta").long()
    draws = torch.empty(4, 3, device="meta").long()
    assert augmented(images, rows, draws).shape == (4, 3, 32, 32)


def test_the_stream_of_draws_is_pinned():
    """Another torch, or another order of drawing, would change every augmented result ever published."""
    assert draw_crop_flip(4, generator(0, "augment", 1)).tolist() == [[6, 0, 1], [8, 5, 0], [8, 2, 0], [3, 8, 0]]
