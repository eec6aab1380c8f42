"""How much memory an array needs, told before it starts, and how much there is."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workloads.control_groups import OWN, ROOT, Group, control_groups
from workloads.datasets.images import Data
from workloads.training.array import looked_at_once
from workloads.training.precision import storage

if TYPE_CHECKING:
    from workloads.train import TrainConfig

COPIES = 4  # of the weights: themselves, the gradient, the velocity, and a temporary one of the step
PASSING = 4  # more, for a moment: a norm's squares in float64, or a step's noise and the bits that it is drawn from
SPREAD = 2  # more, where parameter groups differ: each weight's rate and decay
USABLE = 0.8  # of what is free: kernels need workspace, and allocators leave gaps
LOOKING = 3  # outputs of the widest layer at once, where none is kept: what goes in, what comes out, one in between
ROWS = 48  # bytes an image and network: its label, its place in the order, three draws, and the order before a move
SHORTAGE = "can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED"
VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
VERSION_2 = "memory.max", "memory.current", "inactive_file"
"""Files of a control group with its limit and what it uses, and the line of memory.stat with files that give way."""
IMAGES = 2  # of a batch, as floats: those that go in, and the padded and mirrored bytes they are cropped from


def available(device: str) -> int:
    """Bytes that an array may use on the device; what torch keeps of former arrays is free for the next."""
    if torch.device(device).type != "cuda":
        return int(_free_on_host() * USABLE)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int((torch.cuda.mem_get_info(device)[0] + kept) * USABLE)


def _free_on_host() -> int:
    """What the machine has, and what a container or a batch job may have of it: one that takes more is killed."""
    return min([_free_on_machine(), *free_in_groups()])


def _free_on_machine() -> int:
    """Linux counts files that it keeps in memory as available; elsewhere only pages that hold nothing are known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_in_groups(own: Path = OWN, root: Path = ROOT) -> Iterator[int]:
    """Bytes left in each control group that limits this process's memory."""
    for group in control_groups("memory", own, root):
        yield from _left_in_group(group)


def _left_in_group(group: Group) -> Iterator[int]:
    """Files that are kept in memory count as used there, and give way."""
    names = VERSION_1 if group.version == 1 else VERSION_2
    with suppress(OSError, ValueError):  # no limit is the word max, or more than any machine has
        limit, used = (int((group.folder / name).read_text()) for name in names[:2])
        told = dict(line.split() for line in (group.folder / "memory.stat").read_text().splitlines())
        yield max(0, limit - used + int(told.get(names[2], 0)))


def needed(config: TrainConfig, data: Data, size: int, own_images: bool) -> int:
    """Bytes that an array of `size` networks takes: images, stacked weights, and what a step keeps for its gradient.

    Every layer's output counts twice, for itself and for its gradient, as though nothing were freed on the way. A look
    at all images goes in larger batches and keeps nothing: it counts where it takes more than a step.
    """
    return _estimate(config, data, own_images)(size)


def _estimate(config: TrainConfig, data: Data, own_images: bool) -> Callable[[int], int]:
    """`needed` by the number of networks; the network is built once."""
    assert config.model is not None
    model = config.model.build(data.shape, data.classes).to("meta")
    item = storage(config.precision).itemsize
    weights = sum(parameter.numel() for parameter in model.parameters()) * item * _copies(config)
    count = len(data.train_y)
    batch = count if config.batch_size == "full" else min(config.batch_size, count)
    image, outputs = data.train_x[0].numel(), _outputs(model, data)
    step = batch * (2 * sum(outputs) + image * IMAGES) * item

    def bytes_of(size: int) -> int:
        look = min(count, looked_at_once(size)) * (LOOKING * max(outputs) + image * IMAGES) * item
        images = data.train_x.numel() * (size if own_images else 1)
        return int(images + size * (weights + max(step, look) + ROWS * count))

    return bytes_of


def _copies(config: TrainConfig) -> int:
    """How many numbers there are for each weight when a step holds the most."""
    passing = config.regularizer is not None or config.optimizer.name == "langevin"
    return COPIES + PASSING * passing + SPREAD * bool(config.optimizer.groups)


def _outputs(model: nn.Module, data: Data) -> list[int]:
    """How many numbers each layer of the network puts out for one image."""
    counted: list[int] = []

    def count(layer: nn.Module, inputs: object, output: Tensor) -> None:
        counted.append(output.numel())

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
    estimate = _estimate(config, data, own_images)
    if estimate(1) > limit:
        raise MemoryError(
            f"one training takes about {estimate(1) / 2**20:.0f} MiB and {limit / 2**20:.0f} MiB are free;"
            " lower batch_size"
        )
    return bisect_right(range(1, at_most + 1), limit, key=estimate)


def is_shortage(error: BaseException) -> bool:
    """Whether an error means that the device, or the host, had no more memory to give."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in said for words in SHORTAGE)
