"""32 small networks as one array, beside a plain PyTorch loop that trains them in turn: the launch-bound regime.

The 5-layer all-convolutional net with batch norm at width 4, batch 2, one CPU thread. There is next to nothing to
compute in a step, so its overhead is what is compared: Python, dispatch, the kernels' own beginnings and ends.

    PYTHONPATH=. python tests/benchmarks/arrays.py [--device cpu] [--networks 32] [--steps 150] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import contest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.contract.here import Here
from tests.unit.workloads.plain_training import Tiny
from workloads import train
from workloads.contract import Hardware, Job, Result
from workloads.models import AllConvolutional
from workloads.optimizers import SGD
from workloads.streams import generator
from workloads.train import Precision, Stop, TrainConfig
from workloads.training.evaluation import scale_and_shift

OURS, SINGLES, LOOP = "one array", "arrays of one", "plain loop"
GOAL, CLOSE, BATCH = 5, 1e-9, 2


def config(steps: int, precision: Precision) -> TrainConfig:
    """One epoch of so many steps; images that no shipped data set has, so it is made without validation."""
    return TrainConfig.model_construct(
        data=Tiny(count=steps * BATCH, side=32),
        model=AllConvolutional(width=4),
        optimizer=SGD(lr=0.01, momentum=0.9),
        batch_size=BATCH,
        precision=precision,
        stop=Stop(epochs=1),
    )


def array(made: TrainConfig, device: str, networks: int, slots: int) -> list[Mapping[str, Tensor]]:
    """The final weights of every network, trained through so many slots."""
    jobs = [Job(made, Here(seed=seed, device=device)) for seed in range(networks)]
    results = {item.job.context.seed: item.result for item in train.run_array(jobs, Hardware(device, slots))}
    found = []
    for seed in range(networks):
        result = results[seed]
        assert isinstance(result, Result), result
        assert result.weights is not None
        found.append(result.weights)
    return found


def loop(made: TrainConfig, device: str, networks: int) -> list[Mapping[str, Tensor]]:
    """The same by plain PyTorch, one network after the other, images on the device and normalized beforehand."""
    return [_plain(made, device, seed) for seed in range(networks)]


def _plain(made: TrainConfig, device: str, seed: int) -> Mapping[str, Tensor]:
    dtype = torch.float64 if made.precision == "fp64" else torch.float32
    data = made.data.load(Path(), seed)
    assert made.model is not None
    model = made.model.build(data.shape, data.classes)
    train.Initialization().apply(model, seed)
    model.to(device, dtype).train()
    scale, shift = scale_and_shift(data.mean, data.std, dtype, device)
    x, y = data.train_x.to(device, dtype) * scale + shift, data.train_y.to(device)
    optimizer = torch.optim.SGD(model.parameters(), made.optimizer.lr, momentum=made.optimizer.momentum)
    for rows in torch.randperm(len(y), generator=generator(seed, "order", 0)).to(device).split(BATCH):
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        F.cross_entropy(model(x), y).item()  # as ours ends with a look at the train loss
    return {name: item.cpu() for name, item in model.state_dict().items()}


def check(device: str, networks: int) -> None:
    """In float64 both end with the same weights.

    Raises:
        SystemExit: they do not.
    """
    made = config(10, "fp64")
    pairs = zip(array(made, device, networks, networks), loop(made, device, networks), strict=True)
    furthest = max((ours[name] - theirs[name]).abs().max().item() for ours, theirs in pairs for name in theirs)
    print(f"{networks} networks, 10 steps in float64: the same weights to {furthest:.1e}")
    if not furthest <= CLOSE:
        raise SystemExit(f"they differ by more than {CLOSE:g}")


def main() -> None:
    """Read the options, check equality, compare, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", type=int, default=32)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, networks = options.device, options.networks
    check(device, min(networks, 8))
    made = config(options.steps, "fp32")
    runs = {
        OURS: partial(array, made, device, networks, networks),
        SINGLES: partial(array, made, device, networks, 1),
        LOOP: partial(loop, made, device, networks),
    }

    def train_all(name: str, _: Path) -> float:
        start = time.perf_counter()
        runs[name]()
        return time.perf_counter() - start

    times = contest.hold([contest.Contestant(name, partial(train_all, name), options.rounds) for name in runs])
    for name in runs:
        print(f"{name:<16}{networks * options.steps / statistics.median(times[name]):>10,.0f} network-steps a second")
    print(f"the loop over arrays of one: {contest.ratio(times, LOOP, SINGLES):.2f}")
    contest.conclude("arrays", contest.ratio(times, LOOP, OURS), GOAL)


if __name__ == "__main__":
    main()
