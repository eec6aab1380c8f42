"""How many networks at once: the engine's own choice beside every other size, for each of several networks.

Network-steps a second by S = 1, 2, 4 .. 64, in interleaved rounds, and of torch.func.vmap at the chosen size. The
engine chooses before, from its own short calibration, as it does in a sweep. Sizes whose step takes longer than
--longest are left out; that is said.

    PYTHONPATH=. python tests/benchmarks/array_curve.py [--device cpu] [--networks mlp conv resnet18-16 resnet18-64]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import contest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, stack_module_state, vmap

from tests.contract.here import Here
from tests.unit.workloads.plain_training import Tiny
from workloads.contract import Hardware, Job
from workloads.models import MLP, AllConvolutional, Model, ResNet18
from workloads.optimizers import SGD
from workloads.train import Initialization, Stop, TrainConfig
from workloads.training import calibration
from workloads.training.slot import Slot, begin

GOAL_CPU, GOAL_GPU = 0.9, 0.95
SIZES = (1, 2, 4, 8, 16, 32, 64)
NETWORKS: dict[str, tuple[Model, int]] = {
    "mlp": (MLP(width=512, depth=2), 128),
    "conv": (AllConvolutional(width=16), 100),
    "resnet18-16": (ResNet18(width=16), 128),
    "resnet18-64": (ResNet18(width=64), 128),
}
Step = Callable[[], None]


def slot(model: Model, batch: int, device: str) -> Slot:
    """A training of the network on 32x32 images; no shipped data set has so few, so it is made without validation."""
    made = TrainConfig.model_construct(
        data=Tiny(count=2 * batch, side=32),
        model=model,
        optimizer=SGD(lr=1e-4, momentum=0.9),
        batch_size=batch,
        stop=Stop(epochs=1),
    )
    return begin(Job(made, Here(device=device)))


def vmapped(first: Slot, size: int, device: str) -> Step:
    """A step of so many networks by torch.func.vmap over a functional step, momentum SGD by hand."""
    config, data = first.config, first.data
    assert config.model is not None
    models = [config.model.build(data.shape, data.classes) for _ in range(size)]
    for seed, model in enumerate(models):
        Initialization().apply(model, seed)
        model.to(device).train()
    weights, buffers = stack_module_state(models)  # pyright: ignore[reportArgumentType]
    velocity = {name: torch.zeros_like(item) for name, item in weights.items()}
    images = len(data.train_y) // 2  # as many as a batch has
    x = torch.randn(size, images, *data.shape, device=device)
    y = torch.randint(data.classes, (size, images), device=device)

    def loss(parameters: dict, stacked: dict, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(functional_call(models[0], (parameters, stacked), (images,)), labels)

    gradients = vmap(grad(loss))

    def step() -> None:
        found = gradients(weights, buffers, x, y)
        with torch.no_grad():
            for name, item in weights.items():
                item.sub_(velocity[name].mul_(0.9).add_(found[name]), alpha=1e-4)
        if device != "cpu":
            torch.accelerator.synchronize()

    return step


def seconds(step: Step, at_least: float) -> float:
    """Of one step."""
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < at_least:
        step()
        count += 1
    return (time.perf_counter() - start) / count


def curve(name: str, options: argparse.Namespace) -> float:
    """Print the curve of one network; the chosen size's rate over the best."""
    model, batch = NETWORKS[name]
    first = slot(model, batch, options.device)
    torch.set_num_threads(1)
    chosen = calibration.choose(first, max(SIZES), 2 * max(SIZES), False, Hardware(options.device))
    steps: dict[str, Step] = {}
    sizes: dict[str, int] = {}
    for size in SIZES:
        step = calibration.steps(first, size, False, options.device)
        step()
        if seconds(step, 0) > options.longest and size > chosen:
            print(f"  {name}: a step of S = {size} takes longer than {options.longest:g} s; larger ones are left out")
            break
        steps[str(size)], sizes[str(size)] = step, size
    if seconds(steps[str(chosen)], 0) < options.longest:
        steps[f"vmap {chosen}"], sizes[f"vmap {chosen}"] = vmapped(first, chosen, options.device), chosen
        steps[f"vmap {chosen}"]()
    rates: dict[str, list[float]] = {label: [] for label in steps}
    for index in range(options.rounds):
        labels = [*steps]
        for label in reversed(labels) if index % 2 else labels:
            rates[label].append(sizes[label] / seconds(steps[label], options.seconds))
    median = {label: statistics.median(found) for label, found in rates.items()}
    best = max(median.values())
    print(f"{name}, batch {batch}: the engine takes S = {chosen}")
    for label, rate in median.items():
        print(f"  S = {label:<9} {rate:10,.1f} network-steps a second, {rate / best:.2f} of the best")
    return statistics.median(
        own / max(found[i] for found in rates.values()) for i, own in enumerate(rates[str(chosen)])
    )


def main() -> None:
    """Read the options, draw every curve, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=[*NETWORKS])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one measurement, at least")
    parser.add_argument("--longest", type=float, default=2.0, help="seconds of a step beyond which sizes are left out")
    options = parser.parse_args()
    found = {name: curve(name, options) for name in options.networks}
    for name, value in found.items():
        print(f"{name:<12} chosen over best of each round, median: {value:.2f}")
    contest.conclude("array_curve", min(found.values()), GOAL_CPU if options.device == "cpu" else GOAL_GPU)


if __name__ == "__main__":
    main()
