"""Augmentation of whole batches: zero-pad 4, crop, flip; independent for every image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PAD = 4


def draw_crop_flip(count: int, stream: torch.Generator) -> Tensor:
    """For each image the row and the column of its crop, uniform over 0..8, and whether it is flipped: int64 (N, 3)."""
    shifts = torch.randint(2 * PAD + 1, (count, 2), generator=stream)
    flips = torch.randint(2, (count, 1), generator=stream)
    return torch.cat([shifts, flips], 1)


def crop_flip(x: Tensor, draws: Tensor) -> Tensor:
    """The images (N, C, H, W), padded by 4 zeros, cropped and mirrored as `draws` (N, 3) say."""
    count, channels, height, width = x.shape
    padded = F.pad(x, (PAD,) * 4)
    rows = draws[:, 0, None] + torch.arange(height, device=x.device)
    columns = draws[:, 1, None] + torch.arange(width, device=x.device)
    columns = torch.where(draws[:, 2, None] == 1, columns.flip(1), columns)
    index = rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]
    picked = padded.flatten(2).gather(2, index.view(count, 1, -1).expand(-1, channels, -1))
    return picked.view(count, channels, height, width)
