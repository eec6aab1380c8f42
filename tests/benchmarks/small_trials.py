"""What a table of small trainings costs: 32 conv nets of 16 channels and 32 MLPs 512-512, 10 epochs.

Ours: `sweep run` on 2 cores, one thread a trial, from the process' start to its exit: the table is printed, weights
and history of every trial are kept, the rows are in Parquet and all is in MLflow on sqlite. Beside it, in turn, the
same trainings in plain PyTorch, which keep the final weights and nothing else: Ray Tune at its fastest, and a process
of its own for each trial, one after another, with one thread and with two (a few trials, scaled up to all of them).

They train on 1,000 images of CIFAR-10.

    PYTHONPATH=. python tests/benchmarks/small_trials.py --data DIR [--trials 64] [--rounds 3] [--alone 4]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import contest
import pyarrow.parquet
import torch

from tests.benchmarks.rivals import plain_trial
from tests.benchmarks.rivals.plain_trial import Trial
from tests.contract.here import Here
from workloads import train
from workloads.datasets import CIFAR10
from workloads.training.evaluation import scale_and_shift

RIVALS = Path(__file__).resolve().parent / "rivals"
GOAL, JOBS = 1, 2
OURS, TUNE, ALONE = "ours", "plain Ray Tune", "a process per trial"
MODELS = {
    "conv": {"name": "all_convolutional", "width": plain_trial.CHANNELS},
    "mlp": {"name": "mlp", "width": plain_trial.UNITS, "depth": 2},
}
RATES = (0.01, 0.02, 0.05, 0.1)
CLOSE, LIKE = 1e-9, 0.05
SPEC = """\
name: small-trials
title: Which of two small networks fits a few images faster?
stages:
  train:
    workload: train
    data: {{name: cifar10, subset: {images}}}
    model: {conv}
    optimizer: {{name: sgd, lr: 0.1, momentum: {momentum}}}
    batch_size: {batch}
    stop: {{epochs: {epochs}}}
axes:
  model:
    conv: {{train.model: {conv}}}
    mlp: {{train.model: {mlp}}}
  train.optimizer.lr: {rates}
  seed: {seeds}
tables:
  accuracy:
    rows: [model, train.optimizer.lr]
    values: [train_accuracy]
"""


def trials(num_trials: int) -> list[Trial]:
    """Models x learning rates x seeds."""
    seeds = range(num_trials // (len(MODELS) * len(RATES)))
    return [Trial(*levels) for levels in itertools.product(MODELS, RATES, seeds)]


def spec(listed: Sequence[Trial]) -> str:
    """The sweep of these trials; JSON is YAML."""
    return SPEC.format(
        **{name: json.dumps(recipe) for name, recipe in MODELS.items()},
        momentum=plain_trial.MOMENTUM,
        batch=plain_trial.BATCH,
        images=plain_trial.IMAGES,
        epochs=plain_trial.EPOCHS,
        rates=list(RATES),
        seeds=len({trial.seed for trial in listed}),
    )


def check(data_dir: Path) -> None:
    """In float64, from the same weights and in the same order, our training and the plain one reach the same weights.

    Raises:
        SystemExit: they do not.
    """
    for name, recipe in MODELS.items():
        fields = {"name": "sgd", "lr": RATES[-1], "momentum": plain_trial.MOMENTUM}
        config = train.TrainConfig.model_validate(
            {
                "data": CIFAR10(subset=plain_trial.IMAGES),
                "model": recipe,
                "optimizer": fields,
                "stop": train.Stop(epochs=2),
            }
            | {"batch_size": plain_trial.BATCH, "precision": "fp64"}
        )
        here = Here(data_dir=data_dir)
        made = train.run(config, here)
        assert isinstance(made.start, dict)
        assert made.weights is not None
        assert config.model is not None
        data = config.data.load(data_dir, here.seed)
        names = list(config.model.build(data.shape, data.classes).state_dict())
        model = plain_trial.build(name).double()
        model.load_state_dict(dict(zip(model.state_dict(), [made.start[name] for name in names], strict=True)))
        scale, shift = scale_and_shift(data.mean, data.std, torch.float64, "cpu")
        orders = [torch.randperm(len(data.train_y), generator=here.generator("order", epoch)) for epoch in range(2)]
        plain_trial.fit(model, data.train_x * scale + shift, data.train_y, RATES[-1], orders)
        pairs = zip([made.weights[name] for name in names], model.state_dict().values(), strict=True)
        apart = max((own.double() - theirs.double()).abs().max().item() for own, theirs in pairs)
        print(f"{name}: after 2 epochs in the same order the weights differ by {apart:.1e} at most")
        if not apart <= CLOSE:
            raise SystemExit(f"that is more than {CLOSE:g}")


def ours(listed: Sequence[Trial], data: Path, accuracies: dict[str, float], folder: Path) -> float:
    """Seconds of the whole path.

    Raises:
        SystemExit: a trial is not done.
    """
    path, store = folder / "small.yaml", folder / "store"
    path.write_text(spec(listed), encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator.cli", "run", path, "--store", store, "--data", data, "--quiet"]
    seconds, _ = contest.timed([*command, "--jobs", str(JOBS)])
    rows = pyarrow.parquet.read_table(store / "records" / "small-trials" / "trials.parquet").to_pydict()
    if rows["status"] != ["done"] * len(listed):
        raise SystemExit(f"{rows['status'].count('done')} of {len(listed)} trials are done")
    accuracies[OURS] = statistics.mean(rows["metric.train_accuracy"])
    return seconds


def export(listed: Sequence[Trial], folder: Path) -> int:
    """Write the trials as a package; the exit code of `sweep export`."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "small.yaml"
        path.write_text(spec(listed), encoding="utf-8")
        command = [sys.executable, "-m", "orchestrator.cli", "export", str(path), str(folder), "--store", place]
        return subprocess.run(command, cwd=contest.ROOT).returncode


def tune(listed: Sequence[Trial], data: Path, accuracies: dict[str, float], folder: Path) -> float:
    """Seconds from the process' start to its exit."""
    command = [sys.executable, RIVALS / "plain_tune.py", json.dumps(listed), data, "cpu", str(JOBS), folder]
    seconds, printed = contest.timed(command)
    told = json.loads(printed.strip().splitlines()[-1])
    assert len(told) == len(listed)
    accuracies[TUNE] = statistics.mean(told)
    return seconds


def alone(listed: Sequence[Trial], data: Path, count: int, threads: int, folder: Path) -> float:
    """Seconds of `count` trials, as many of each model, each a process of its own, scaled up to all of them."""
    half = len(listed) // 2
    chosen = [*listed[:half][: count // 2], *listed[half:][: count // 2]]
    seconds = 0.0
    for trial in chosen:
        words = [str(word) for word in trial]
        command = [sys.executable, RIVALS / "one_process.py", *words, data, "cpu", str(threads), folder]
        seconds += contest.timed(command)[0]
    return seconds * len(listed) / len(chosen)


def main() -> None:
    """Read the options, check equality, compare, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64, help=f"a multiple of {len(MODELS) * len(RATES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", type=int, default=4, help="trials run as a process of their own; an even number")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SWEEP_DATA", "data")), help="CIFAR-10's")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write the trials for small_trials_elsewhere.py")
    options = parser.parse_args()
    data = options.data.absolute()
    if options.export:
        raise SystemExit(export(trials(options.trials), options.export))
    if missing := CIFAR10().missing(data):
        raise SystemExit(missing)
    listed = trials(options.trials)
    check(data)
    accuracies: dict[str, float] = {}
    runs = {OURS: partial(ours, listed, data, accuracies), TUNE: partial(tune, listed, data, accuracies)}
    for threads in range(1, JOBS + 1):
        runs[f"{ALONE}, threads: {threads} (scaled up)"] = partial(alone, listed, data, options.alone, threads)
    times = contest.hold([contest.Contestant(name, run, options.rounds) for name, run in runs.items()])
    print(f"\n{'':<44}{'seconds':>10}{'s a trial':>12}{'over ours':>12}")
    for name, seconds in times.items():
        whole, over = statistics.median(seconds), contest.ratio(times, name, OURS)
        print(f"{name:<44}{whole:>10.1f}{whole / len(listed):>12.2f}{over:>12.2f}")
    print(f"{options.alone} of {len(listed)} trials were run as a process of their own; the rest is extrapolated.")
    print(", ".join(f"mean train accuracy of {name} {value:.3f}" for name, value in accuracies.items()))
    if abs(accuracies[OURS] - accuracies[TUNE]) > LIKE:
        raise SystemExit("the accuracies differ: they do not do the same work")
    best = min((name for name in times if name != OURS), key=lambda name: statistics.median(times[name]))
    print(f"the best of the others: {best}")
    contest.conclude("small_trials", contest.ratio(times, best, OURS), GOAL)


if __name__ == "__main__":
    main()
