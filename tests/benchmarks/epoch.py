"""One epoch of ResNet-18 on CIFAR-10: batch 128, crops and mirrors, momentum 0.9, weight decay 5e-4.

Ours: `workloads.train.run`. Beside it, in turn: a textbook script in a process of its own (fp32, NCHW, torchvision's
transforms in a DataLoader, loss.item() each step), with as many threads, from the same initial weights. Each runs two
epochs and the second counts, so that neither's start, compilation or first touch of memory does.

    PYTHONPATH=. python tests/benchmarks/epoch.py [--device cpu] [--data DIR] [--images N] [--width W] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import contest
import torch
from torch import Tensor

from tests.benchmarks.rivals import textbook_epoch
from tests.contract.here import Here
from workloads import train
from workloads.datasets import CIFAR10
from workloads.datasets.images import Data
from workloads.models import ResNet18
from workloads.optimizers import SGD
from workloads.streams import generator
from workloads.training.evaluation import scale_and_shift

RIVALS = Path(__file__).resolve().parent / "rivals"
OURS, RIVAL = "ours", "textbook script"
GOAL_CPU, GOAL_GPU = 1.2, 4
EPOCHS = 2
CHECKED, CLOSE, LIKE = 512, 1e-9, 0.1


@dataclass
class Clock(Here):
    """A context that notes when each epoch ended."""

    ends: list[float] = field(default_factory=list)

    def log(self, step: int, **values: float) -> None:
        super().log(step, **values)
        self.ends.append(time.perf_counter())


@dataclass
class Contest:
    """The task, the initial weights that all start from, and the mean losses of the epochs that counted."""

    options: argparse.Namespace
    weights: Sequence[Tensor]
    data: Data
    losses: dict[str, list[float]] = field(default_factory=lambda: {OURS: [], RIVAL: []})


def config(options: argparse.Namespace, **changes: Any) -> train.TrainConfig:
    """The training; `changes` replace fields."""
    fields: dict[str, Any] = {
        "data": CIFAR10(subset=options.images, augment="crop_flip"),
        "model": ResNet18(width=options.width),
        "optimizer": SGD(
            lr=textbook_epoch.RATE, momentum=textbook_epoch.MOMENTUM, weight_decay=textbook_epoch.WEIGHT_DECAY
        ),
        "batch_size": textbook_epoch.BATCH,
        "stop": train.Stop(epochs=EPOCHS),
        "precision": options.precision,
        "threads": options.threads,
    }
    return train.TrainConfig(**fields | changes)


def weights(made: train.TrainConfig, context: Here) -> list[Tensor]:
    """Parameters and buffers, in the network's order, after the training."""
    assert made.model is not None
    result = train.run(made, context)
    assert result.weights is not None
    return [result.weights[name] for name in made.model.build((3, 32, 32), CIFAR10.CLASSES).state_dict()]


def check(options: argparse.Namespace, initial: Sequence[Tensor]) -> None:
    """In float64, not augmented and in the same order, both reach the same weights after an epoch of a few steps.

    In float32 they need not: a ReLU that rounding tips over is felt in every later step.

    Raises:
        SystemExit: they do not.
    """
    here = Here(device=options.device, data_dir=options.data)
    plain = config(options, data=CIFAR10(subset=CHECKED), stop=train.Stop(epochs=1), precision="fp64")
    made = weights(plain, here)
    data = plain.data.load(options.data, here.seed)
    scale, shift = scale_and_shift(data.mean, data.std, torch.float64, "cpu")
    x, y = data.train_x * scale + shift, data.train_y
    order = torch.randperm(CHECKED, generator=generator(here.seed, "order", 0))
    model = textbook_epoch.put(initial, textbook_epoch.ResNet18(3, options.width, data.classes)).to(options.device)
    model.double()
    batches = ((x[rows], y[rows]) for rows in order.split(textbook_epoch.BATCH))
    textbook_epoch.train(model, batches, textbook_epoch.sgd(model), options.device)
    pairs = list(zip(made, model.state_dict().values(), initial, strict=True))
    moved = sum((own.double() - begin.double()).square().sum() for own, _, begin in pairs) ** 0.5
    apart = sum((own.double() - theirs.cpu().double()).square().sum() for own, theirs, _ in pairs) ** 0.5
    print(f"the same {len(order)} images in the same order: weights apart by {apart / moved:.1e} of the way they went")
    if not apart <= CLOSE * moved:
        raise SystemExit(f"that is more than {CLOSE:g}")


def ours(contest_: Contest, _: Path) -> float:
    """Seconds of the second epoch."""
    options = contest_.options
    clock = Clock(device=options.device, data_dir=options.data)
    train.run(config(options), clock)
    contest_.losses[OURS].append(clock.rows[-1]["train_loss"])
    return clock.ends[-1] - clock.ends[-2]


def rival(contest_: Contest, folder: Path) -> float:
    """Seconds of the second epoch."""
    options, data, file = contest_.options, contest_.data, folder / "task.pt"
    task = {"images": data.train_x, "labels": data.train_y, "mean": data.mean, "std": data.std}
    task |= {"classes": data.classes, "width": options.width, "weights": list(contest_.weights)}
    torch.save(task, file)
    numbers = [str(number) for number in (EPOCHS, options.workers, options.threads)]
    _, printed = contest.timed([sys.executable, RIVALS / "textbook_epoch.py", file, options.device, *numbers])
    told = json.loads(printed)
    contest_.losses[RIVAL].append(told["losses"][-1])
    return told["seconds"][-1]


def options_given() -> argparse.Namespace:
    """What the command line says; what it leaves open depends on the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SWEEP_DATA", "data")), help="CIFAR-10's")
    parser.add_argument("--images", type=int, help="in an epoch (default: all on a GPU, 5000 on a CPU)")
    parser.add_argument("--width", type=int, help="default: 64 on a GPU, 8 on a CPU")
    parser.add_argument("--precision", help="ours (default: bf16 on a GPU, fp32 on a CPU)")
    parser.add_argument("--threads", type=int, default=2, help="of each contestant")
    parser.add_argument("--workers", type=int, default=2, help="of the rival's DataLoader, beside its threads")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    gpu = options.device != "cpu"
    options.images = options.images or (50000 if gpu else 5000)
    options.width = options.width or (64 if gpu else 8)
    options.precision = options.precision or ("bf16" if gpu else "fp32")
    return options


def main() -> None:
    """Read the options, check equality, compare, and end with the line that scripts read."""
    options = options_given()
    missing = CIFAR10().missing(options.data)
    if missing is not None:
        raise SystemExit(f"CIFAR-10 is not in {options.data}: {missing}")
    initial = weights(
        config(options, stop=train.Stop(epochs=0), precision="fp64"),
        Here(device=options.device, data_dir=options.data),
    )
    check(options, initial)
    held = Contest(options, initial, config(options).data.load(options.data, 0))
    contestants = [(OURS, ours), (RIVAL, rival)]
    times = contest.hold([contest.Contestant(name, partial(run, held), options.rounds) for name, run in contestants])
    for name, losses in held.losses.items():
        seconds, loss = statistics.median(times[name]), statistics.median(losses)
        print(f"{name:<16}{seconds:8.2f} s an epoch of {options.images} images; mean loss of the epoch {loss:.3f}")
    own, theirs = (statistics.median(held.losses[name]) for name in (OURS, RIVAL))
    if not abs(own - theirs) <= LIKE * theirs:
        raise SystemExit(f"the losses differ by more than {LIKE:.0%}: they do not train the same network")
    contest.conclude("epoch", contest.ratio(times, RIVAL, OURS), GOAL_CPU if options.device == "cpu" else GOAL_GPU)


if __name__ == "__main__":
    main()
