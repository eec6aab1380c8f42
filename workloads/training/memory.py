"""How much memory an array needs, told before it starts, and how much there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workloads.datasets.images import Data
from workloads.training.precision import storage

if TYPE_CHECKING:
    from workloads.train import TrainConfig

COPIES = 4  # of the weights: themselves, the gradient, the velocity, and a temporary one of the step
USABLE = 0.8  # of what is free: kernels need workspace, and allocators leave gaps
IMAGES = 2  # of a batch, as floats: those that go in, and the padded and mirrored bytes they are cropped from


def available(device: str) -> int:
    """Bytes that an array may use on the device."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * USABLE)
    return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * USABLE)


def needed(config: TrainConfig, data: Data, size: int, own_images: bool) -> int:
    """Bytes that an array of `size` networks takes: images, stacked weights, and what a step keeps for its gradient.

    Every layer's output counts twice, for itself and for its gradient, as though nothing were freed on the way.
    """
    assert config.model is not None
    model = config.model.build(data.shape, data.classes).to("meta")
    item = storage(config.precision).itemsize
    weights = sum(parameter.numel() for parameter in model.parameters()) * item * COPIES
    count = len(data.train_y)
    batch = count if config.batch_size == "full" else min(config.batch_size, count)
    image = data.train_x[0].numel()
    step = batch * (2 * _outputs(model, data) + image * IMAGES) * item
    images = data.train_x.numel() * (size if own_images else 1)
    return int(images + size * (weights + step + 8 * count))


def _outputs(model: nn.Module, data: Data) -> int:
    """Numbers that the layers of the network put out for one image."""
    counted = 0

    def count(layer: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal counted
        counted += output.numel()

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if not [*layer.children()]]
    with torch.no_grad():
        model.eval()(torch.empty(1, *data.shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return counted


def most(config: TrainConfig, data: Data, own_images: bool, limit: int, at_most: int) -> int:
    """The largest array of up to `at_most` networks that fits into `limit` bytes.

    Raises:
        MemoryError: not even one does.
    """
    one, two = (needed(config, data, size, own_images) for size in (1, 2))
    if one > limit:
        raise MemoryError(
            f"one training takes about {one / 2**20:.0f} MiB and {limit / 2**20:.0f} MiB are free; lower batch_size"
        )
    return min(at_most, 1 + (limit - one) // (two - one))


def is_shortage(error: BaseException) -> bool:
    """Whether an error means that the device, or the host, had no more memory to give."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
