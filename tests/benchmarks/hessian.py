"""Seconds to both ends of the spectrum of a full-data Hessian, each with a residual of at most 1e-3.

Ours: Lanczos over the full loss with graphs kept from product to product, and the check of what it finds in float64,
which is in its time. Beside it, in turn, in the same process: power iteration as PyHessian has it, with a new graph
for every batch of every product, for the largest eigenvalue and then, shifted by that, for the smallest. The network
is a convolutional one after a few epochs on digits; both see the same images and begin with the same vector.

    PYTHONPATH=. python tests/benchmarks/hessian.py [--device cpu] [--images 500] [--width 4] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from functools import partial
from pathlib import Path

import contest
import torch
import torch.nn.functional as F
from torch import nn

from tests.benchmarks.rivals.pyhessian_way import PowerIteration
from workloads.datasets import Digits
from workloads.datasets.images import Data
from workloads.measures.curvature import largest_hessian_eigenvalue, smallest_hessian_eigenvalue
from workloads.measures.snapshot import Snapshot
from workloads.models import Conv4
from workloads.starts.default import initialize
from workloads.streams import generator
from workloads.training.evaluation import normalized

RESIDUAL, GOAL, MOST = 1e-3, 5, 100_000
BATCH = 250  # the rival's; ours has chunks of as many
OURS, RIVAL = "ours", "power iteration, graphs rebuilt"


def trained(data: Data, images: torch.Tensor, width: int, epochs: int) -> nn.Module:
    """A network with PyTorch's initialization and a few epochs of SGD behind it."""
    model = Conv4(width=width).build(data.shape, data.classes)
    initialize(model, 0)
    descent = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(epochs):
        for rows in torch.randperm(len(images), generator=generator(0, "order", epoch)).split(50):
            descent.zero_grad()
            F.cross_entropy(model(images[rows]), data.train_y[rows]).backward()
            descent.step()
    return model.requires_grad_(False).eval()


def ours(model: nn.Module, data: Data, device: str) -> tuple[list[float], list[float]]:
    """Values and residuals of both ends, as the measures report them."""
    snapshot = Snapshot(model, {}, data, device)
    found = [it(snapshot, residual=RESIDUAL) for it in (smallest_hessian_eigenvalue, largest_hessian_eigenvalue)]
    return [end.value for end in found], [end.beside["residual"] for end in found]


def rival(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[list[float], list[float], int]:
    """Values and residuals of both ends, and the products that it took."""
    model.requires_grad_(True)
    iteration = PowerIteration(model, images, labels, BATCH)
    size = sum(parameter.numel() for parameter in iteration.parameters)
    start = torch.randn(size, generator=generator(0, "hessian"), dtype=torch.float64).to(images)
    first = iteration.end(start, RESIDUAL, MOST)
    ends = sorted([first, iteration.end(start, RESIDUAL, MOST, first[0])])
    model.requires_grad_(False)
    return [value for value, _ in ends], [apart for _, apart in ends], iteration.products


def check(model: nn.Module, data: Data, images: torch.Tensor, device: str) -> None:
    """Both find the same two numbers.

    Raises:
        SystemExit: they do not, or a residual is above what was asked for.
    """
    own, near = ours(model, data, device)
    theirs, apart, products = rival(model, images, data.train_y.to(device))
    for end, one, other, a, b in zip(("smallest", "largest"), own, theirs, near, apart, strict=True):
        print(f"{end:<9} ours {one:+.6f} (residual {a:.1e}), theirs {other:+.6f} (residual {b:.1e})")
        if abs(one - other) > a + b or max(a, b) > 2 * RESIDUAL:
            raise SystemExit("these are not the same number, or a residual is too large")
    print(f"power iteration takes {products} products")


def main() -> None:
    """Read the options, check equality, compare, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=500, help="of digits")
    parser.add_argument("--width", type=int, default=4, help="of the network's first convolution")
    parser.add_argument("--epochs", type=int, default=5, help="behind the network")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True", UserWarning)  # the rival's way
    data = Digits(subset=options.images).load(Path(), seed=0)
    images = normalized(data.train_x, data.mean, data.std)
    model = trained(data, images, options.width, options.epochs).to(options.device)
    images, labels = images.to(options.device), data.train_y.to(options.device)
    check(model, data, images, options.device)
    runs = {OURS: lambda: ours(model, data, options.device), RIVAL: lambda: rival(model, images, labels)}

    def search(name: str, _: Path) -> float:
        start = time.perf_counter()
        runs[name]()  # ends with numbers on the host
        return time.perf_counter() - start

    times = contest.hold([contest.Contestant(name, partial(search, name), options.rounds) for name in runs])
    for name in runs:
        print(f"{name:<32}{statistics.median(times[name]):>10.2f} s for both ends")
    contest.conclude("hessian", contest.ratio(times, RIVAL, OURS), GOAL)


if __name__ == "__main__":
    main()
