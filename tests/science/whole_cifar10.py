"""ResNet-18 at width 16 on the whole CIFAR-10: exported nodes, computed elsewhere, beside a plain PyTorch script.

The check that wants a GPU: five seeds each, the same recipe, mean test accuracies within two standard errors. The
first and the last command want the orchestrator, the middle two torch and pydantic alone:

    PYTHONPATH=. python tests/science/whole_cifar10.py export PACKAGE [--epochs 15]
    python -m workloads run PACKAGE OUT --data DATA --device cuda:0
    PYTHONPATH=. python tests/science/whole_cifar10.py script FILE --data DATA --device cuda:0 [--epochs 15]
    PYTHONPATH=. python tests/science/whole_cifar10.py compare PACKAGE OUT FILE

Beside PACKAGE lie its sweep and the store that takes OUT.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.benchmarks.rivals import textbook_epoch
from workloads.datasets import CIFAR10

SEEDS, WIDTH, EPOCHS = 5, 16, 15
IMAGES, TESTED = 50_000, 1000
FILE = "whole-cifar10.yaml"


def spec(images: int, width: int, epochs: int) -> dict[str, Any]:
    """The sweep of our side."""
    data: dict[str, Any] = {"name": "cifar10", "augment": "crop_flip"}
    rates = {"momentum": textbook_epoch.MOMENTUM, "weight_decay": textbook_epoch.WEIGHT_DECAY}
    train: dict[str, Any] = {
        "workload": "train",
        "data": data if images == IMAGES else data | {"subset": images},
        "model": {"name": "resnet18", "width": width},
        "optimizer": {"name": "sgd", "lr": textbook_epoch.RATE, **rates},
        "schedule": {"name": "cosine", "period": epochs},
        "batch_size": textbook_epoch.BATCH,
        "stop": {"epochs": epochs},
    }
    measure = {"workload": "measure", "from": "train", "measures": ["test_accuracy"]}
    return {"name": "whole-cifar10", "stages": {"train": train, "measure": measure}, "axes": {"seed": SEEDS}}


def export(package: Path, images: int, width: int, epochs: int) -> None:
    """The nodes of our side, and beside them the sweep that they are of: JSON is YAML."""
    file = package.with_name(f"{package.name}-{FILE}")
    file.write_text(json.dumps(spec(images, width, epochs), indent=1), encoding="utf-8")
    _sweep("export", file, package, "--store", package.with_name(f"{package.name}-store"))


def ours(package: Path, out: Path) -> list[float]:
    """Test accuracies by seed, as the sweep that has imported them says."""
    import pyarrow.parquet

    file, store = (package.with_name(f"{package.name}-{name}") for name in (FILE, "store"))
    _sweep("import", out, "--store", store)
    _sweep("run", file, "--store", store, "--inline", "--quiet", "--yes")
    rows = pyarrow.parquet.read_table(store / "records" / "whole-cifar10" / "trials.parquet").to_pylist()
    return [row["metric.test_accuracy"] for row in sorted(rows, key=lambda row: row["axis.seed"])]


def _sweep(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "orchestrator.cli", *map(str, words)], check=True)


def script(data: Path, device: str, images: int, width: int, epochs: int) -> Iterator[float]:
    """Test accuracies of a plain script, seed by seed: the global generator, torch.optim, images cropped in batches."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    whole = CIFAR10().arrays(data)
    x, y, test_x, test_y = (it.to(device) for it in (whole.train_x, whole.train_y, whole.test_x, whole.test_y))
    for seed in range(SEEDS):
        torch.manual_seed(1000 + seed)
        rows = torch.randperm(len(x))[:images].to(device)
        model = textbook_epoch.ResNet18(3, width, 10).to(device)
        optimizer = textbook_epoch.sgd(model)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            textbook_epoch.train(model, _batches(x[rows], y[rows]), optimizer, device)
            schedule.step()
        model.eval()
        with torch.no_grad():
            found = [model(_normalized(some)).argmax(1) for some in test_x.split(TESTED)]
        yield (torch.cat(found) == test_y).float().mean().item()


def _batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in torch.randperm(len(x)).to(x.device).split(textbook_epoch.BATCH):
        yield _normalized(_cropped(x[rows])), y[rows]


def _cropped(x: Tensor) -> Tensor:
    """Each image cropped at a place of its own out of itself with a border of 4 zeros, and mirrored or not."""
    down, right = torch.randint(9, (2, len(x)), device=x.device)
    places = F.pad(x, (4, 4, 4, 4)).unfold(2, 32, 1).unfold(3, 32, 1)
    cropped = places[torch.arange(len(x), device=x.device), :, down, right]
    mirrored = torch.rand(len(x), device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)


def _normalized(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(channel, device=x.device)[:, None, None] for channel in (CIFAR10.MEAN, CIFAR10.STD))
    return (x / 255 - mean) / std


def alike(mine: list[float], theirs: list[float]) -> bool:
    """Whether the means of as many seeds each are within two standard errors of their difference; all is printed."""
    error = math.sqrt((statistics.variance(mine) + statistics.variance(theirs)) / len(mine))
    difference = statistics.mean(mine) - statistics.mean(theirs)
    for name, values in (("ours", mine), ("script", theirs)):
        print(f"{name:<7} {statistics.mean(values):.4f}  ({', '.join(f'{value:.4f}' for value in values)})")
    print(f"difference {difference:+.4f}, standard error {error:.4f}")
    return abs(difference) <= 2 * error


def compare(package: Path, out: Path, file: Path) -> None:
    """Both sides of the check.

    Raises:
        SystemExit: the script had another recipe or was ended early, or the accuracies differ.
    """
    told = json.loads(file.read_text(encoding="utf-8"))
    exported = json.loads(package.with_name(f"{package.name}-{FILE}").read_text(encoding="utf-8"))
    if exported != spec(told["images"], told["width"], told["epochs"]):
        raise SystemExit(f"{file}: other images, width or epochs than those of {package}")
    if len(told["accuracies"]) != SEEDS:
        raise SystemExit(f"{file}: {len(told['accuracies'])} of {SEEDS} seeds; run the script to its end")
    if not alike(ours(package, out), told["accuracies"]):
        raise SystemExit("the accuracies differ by more than two standard errors")


def options_given() -> argparse.Namespace:
    """The command and what it wants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    added = {name: commands.add_parser(name) for name in ("export", "script", "compare")}
    for name, paths in {"export": ["package"], "script": ["file"], "compare": ["package", "out", "file"]}.items():
        for path in paths:
            added[name].add_argument(path, type=lambda text: Path(text).absolute())
    for name in ("export", "script"):
        added[name].add_argument("--epochs", type=int, default=EPOCHS)
        added[name].add_argument("--width", type=int, default=WIDTH)
        added[name].add_argument("--images", type=int, default=IMAGES, help="fewer for a trial of this check itself")
    added["script"].add_argument("--data", type=Path, required=True)
    added["script"].add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    """One of the three commands."""
    given = options_given()
    if given.command == "compare":
        compare(given.package, given.out, given.file)
        return
    recipe = {"images": given.images, "width": given.width, "epochs": given.epochs}
    if given.command == "export":
        export(given.package, **recipe)
        return
    found = list[float]()
    for accuracy in script(given.data, given.device, **recipe):
        found.append(accuracy)
        given.file.write_text(json.dumps({**recipe, "accuracies": found}), encoding="utf-8")
        print(f"seed {len(found) - 1}: {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
