"""Seconds to the empirical tangent kernel of 25 images and 10 logits, for networks of the paper's four families.

Ours: layer by layer, from what goes into a layer and the gradients by what comes out of it. Beside it, in turn, in the
same process: 250 backward passes, one for each logit of each image, their gradients as the rows of one matrix, and
that matrix times its transpose. Both in float32 on the same random images; the least of the ratios counts.

    PYTHONPATH=. python tests/benchmarks/ntk.py [--device cpu] [--images 25] [--rounds 3] [--threads N] [--wide]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import contest
import torch
from torch import Tensor, nn

from workloads.models import MLP, NTKConvNet, WideResNet
from workloads.models.base import Network
from workloads.spectra.tangent_kernel import tangent_kernel
from workloads.starts.default import initialize
from workloads.streams import generator

GOALS = {"cpu": 2, "cuda": 10}
CLOSE = 1e-5
SHAPE, CLASSES = (3, 32, 32), 10
NETWORKS: dict[str, Network] = {
    "mlp-2 1000": MLP(width=1000, depth=1),
    "mlp-4 300": MLP(width=300, depth=3),
    "convnet 20": NTKConvNet(width=20),
    "wrn-16-1": WideResNet(width=1, variant="biased"),
}
WIDE: dict[str, Network] = {
    "mlp-4 2000": MLP(width=2000, depth=3),
    "convnet 100": NTKConvNet(width=100),
    "wrn-16-4": WideResNet(width=4, variant="biased"),
}


def loop(model: nn.Module, images: Tensor) -> Tensor:
    """(N, N, K, K) by a backward pass for each row of the Jacobian, which exists as a whole."""
    parameters = [*model.requires_grad_(True).parameters()]
    rows = []
    for image in images.split(1):
        for logit in model(image)[0]:
            gradients = torch.autograd.grad(logit, parameters, retain_graph=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    model.requires_grad_(False)
    jacobian = torch.stack(rows)
    kernel = (jacobian @ jacobian.T).double()
    return kernel.view(len(images), -1, len(images), len(rows) // len(images)).transpose(1, 2)


def compare(name: str, network: Network, images: Tensor, rounds: int) -> float:
    """The ratio for one network.

    Raises:
        SystemExit: the kernels differ.
    """
    model = network.build(SHAPE, CLASSES)
    initialize(model, 0)
    model.to(images.device).eval().requires_grad_(False)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    one, other = tangent_kernel(model, images), loop(model, images)
    apart = ((one - other).norm() / other.norm()).item()
    print(f"{name}: {numbers:,} parameters; both give the same kernel to {apart:.1e}")
    if not apart <= CLOSE:
        raise SystemExit(f"they differ by more than {CLOSE:g}")
    runs = {f"{name}: ours": tangent_kernel, f"{name}: loop": loop}

    def kernel(way: str, _: Path) -> float:
        start = time.perf_counter()
        runs[way](model, images).sum().item()  # a number on the host: the device has done it
        return time.perf_counter() - start

    times = contest.hold([contest.Contestant(way, partial(kernel, way), rounds) for way in runs])
    ours, theirs = (statistics.median(times[way]) for way in runs)
    found = contest.ratio(times, f"{name}: loop", f"{name}: ours")
    print(f"{name}: ours {ours:.3f} s, loop {theirs:.3f} s, ratio {found:.2f}")
    return found


def main() -> None:
    """Read the options, compare network by network, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's own number by default")
    parser.add_argument("--wide", action="store_true", help="networks that want a GPU or patience")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    images = torch.randn(options.images, *SHAPE, generator=generator(0, "images")).to(options.device)
    networks = WIDE if options.wide else NETWORKS
    ratios = [compare(name, network, images, options.rounds) for name, network in networks.items()]
    contest.conclude("ntk", min(ratios), GOALS[images.device.type])


if __name__ == "__main__":
    main()
