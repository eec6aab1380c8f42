"""How many CIFAR-10 images a second are cropped, mirrored, normalized and handed to the device in batches of 128.

Ours: the engine's pool of uint8 images on the device, gathered and augmented there in whole batches. Beside it, in
turn, in the same process: torchvision's transforms of PIL images in a DataLoader with 2 workers, as textbook scripts
have them, workers started each epoch as they are there. Ours has as many threads as the rival has workers.

    PYTHONPATH=. python tests/benchmarks/input_pipeline.py [--device cpu] [--data DIR] [--images 50000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from functools import partial
from pathlib import Path

import contest
import torch

from tests.benchmarks.rivals.torchvision_loader import by_hand, loader
from workloads.datasets import CIFAR10
from workloads.datasets.augmentation import draw_crop_flip
from workloads.datasets.images import Data
from workloads.streams import generator
from workloads.training.pool import Pool

BATCH, GOAL, CLOSE = 128, 5, 1e-6
OURS, RIVAL = "ours", "torchvision"


def images(data_dir: Path, count: int) -> Data:
    """`count` images of CIFAR-10, or random ones of that shape where it is not there, which is said."""
    dataset = CIFAR10()
    missing = dataset.missing(data_dir)
    if missing is None:
        return CIFAR10(subset=count).load(data_dir, seed=0)
    print(f"synthetic images in place of CIFAR-10 ({missing})")
    x = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "images"))
    y = torch.randint(10, (count,), generator=generator(0, "labels"))
    return Data(x, y, x[:1], y[:1], dataset.MEAN, dataset.STD, dataset.CLASSES)


def check(data: Data, pool: Pool) -> None:
    """With the same draws both give the same floats, up to float32's rounding.

    Raises:
        SystemExit: they do not.
    """
    count = min(1000, len(data.train_x))
    rows, draws = torch.arange(count).flip(0), draw_crop_flip(count, generator(0, "check"))
    device = pool.images.device
    made = pool.normalized(pool.batch(rows[None].to(device), draws[None].to(device))).cpu()
    difference = (made - by_hand(data.train_x[rows], draws, data.mean, data.std)).abs().max().item()
    print(f"{count} images with the same draws: both give the same floats to {difference:.1e}")
    if not difference <= CLOSE:
        raise SystemExit(f"they differ by more than {CLOSE:g}")


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if device != "cpu":
        torch.accelerator.synchronize()


def ours(pool: Pool, device: str, epoch: int) -> int:
    """One epoch; the number of images that came."""
    count, seen = pool.count, 0
    order = torch.randperm(count, generator=generator(0, "order", epoch))
    draws = draw_crop_flip(count, generator(0, "augment", epoch))[order].to(device)
    order = order.to(device)
    for rows, crops in zip(order.split(BATCH), draws.split(BATCH), strict=True):
        x, y = pool.normalized(pool.batch(rows[None], crops[None])), pool.labels_of(rows[None])
        assert len(x) == y.shape[1]
        seen += len(x)
    return seen


def rival(data: Data, device: str, workers: int) -> int:
    """One epoch; the number of images that came."""
    seen = 0
    pin = device != "cpu"
    for x, y in loader(data.train_x, data.train_y, data.mean, data.std, BATCH, workers, pin):
        x, y = x.to(device, non_blocking=pin), y.to(device, non_blocking=pin)
        seen += len(x)
    return seen


def main() -> None:
    """Read the options, check equality, compare, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SWEEP_DATA", "data")), help="CIFAR-10's")
    parser.add_argument("--images", type=int, default=50000, help="in an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="the rival's; as many threads for ours")
    options = parser.parse_args()
    torch.set_num_threads(options.workers)
    data = images(options.data, options.images)
    pool = Pool(data, 1, False, options.device, torch.float32)
    check(data, pool)
    epochs = iter(range(10**9))
    runs = {
        OURS: lambda: ours(pool, options.device, next(epochs)),
        RIVAL: partial(rival, data, options.device, options.workers),
    }

    def epoch(name: str, _: Path) -> float:
        start = time.perf_counter()
        seen = runs[name]()
        wait(options.device)
        assert seen == options.images
        return time.perf_counter() - start

    times = contest.hold([contest.Contestant(name, partial(epoch, name), options.rounds) for name in runs])
    for name in runs:
        print(f"{name:<12}{options.images / statistics.median(times[name]):>12,.0f} images a second")
    contest.conclude("input_pipeline", contest.ratio(times, RIVAL, OURS), GOAL)


if __name__ == "__main__":
    main()
