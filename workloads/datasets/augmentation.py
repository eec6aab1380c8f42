"""Augmentation of whole batches: zero-pad 4, crop, flip; independent for every image.

Nothing here waits for the device or has a shape that depends on values, so a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
from torch import Tensor

PAD = 4


def draw_crop_flip(count: int, stream: torch.Generator) -> Tensor:
    """For each image the row and the column of its crop, uniform over 0..8, and whether it is flipped: int64 (N, 3)."""
    shifts = torch.randint(2 * PAD + 1, (count, 2), generator=stream)
    flips = torch.randint(2, (count, 1), generator=stream)
    return torch.cat([shifts, flips], 1)


def augmented(images: Tensor, rows: Tensor, draws: Tensor) -> Tensor:
    """The images (M, C, H, W) number `rows` (B,), augmented as `draws` (B, 3) say: (B, C, H, W), a view with gaps."""
    return crop_flip(images.index_select(0, rows), draws)


def crop_flip(x: Tensor, draws: Tensor) -> Tensor:
    """The images (B, C, H, W), padded by 4 zeros, cropped and mirrored as `draws` (B, 3) say; a view with gaps.

    A crop is one stretch of memory of the padded images, wherever it begins, so one copy per image makes it. The
    zeros after a line (or channel) are also those before the next one, and a mirrored crop at column j is the crop of
    the mirrored image at column 8 - j.
    """
    count, channels, height, width = x.shape
    line = width + PAD
    size = channels * (height + PAD) * line
    padded = x.new_zeros(2 * count * size + 2 * PAD * (line + 1))
    plain, mirrored = padded[: 2 * count * size].view(2, count, channels, height + PAD, line)[..., PAD:, PAD:]
    plain.copy_(x)
    mirrored.copy_(x.flip(3))
    row, column, flip = draws.unbind(1)
    column = torch.where(flip == 1, 2 * PAD - column, column)
    begin = (flip * count + torch.arange(count, device=x.device)) * size + row * line + column
    stretches = padded.as_strided((len(padded) - size + 1, size), (1, 1))
    return stretches.index_select(0, begin).view(count, channels, height + PAD, line)[..., :height, :width]
