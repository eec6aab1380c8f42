"""The input pipeline of a textbook CIFAR script: PIL images through torchvision's transforms in a DataLoader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional

PAD = 4


class PILImages(Dataset[tuple[Any, int]]):
    """Like `torchvision.datasets.CIFAR10`: arrays (H, W, C) in memory, made a PIL image when asked for."""

    def __init__(self, images: Tensor, labels: Tensor, transform: transforms.Compose) -> None:
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def loader(
    images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float], batch: int, workers: int, pin: bool
) -> DataLoader[tuple[Any, int]]:
    """Batches of `images` (N, C, H, W), uint8, in random order, cropped, mirrored and normalized."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(images.shape[2], padding=PAD),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    dataset = PILImages(images, labels, transform)
    return DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=workers, pin_memory=pin)


def by_hand(images: Tensor, draws: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The same transforms, but with given draws: row and column of the crop, and whether it is mirrored."""
    made = []
    for image, (row, column, flip) in zip(images, draws.tolist(), strict=True):
        picture: Any = functional.pad(cast(Any, Image.fromarray(image.permute(1, 2, 0).numpy())), [PAD])
        picture = functional.crop(picture, row, column, *image.shape[1:])
        if flip:
            picture = functional.hflip(picture)
        made.append(functional.normalize(functional.to_tensor(picture), list(mean), list(std)))
    return torch.stack(made)
