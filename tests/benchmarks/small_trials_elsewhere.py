"""The small trainings of small_trials.py where Ray is not: `python -m workloads run` beside plain processes.

Ours computes a package that `sweep export` wrote, on one device, from the process' start to its exit. Beside it, in
turn, the same trainings in plain PyTorch: a process per trial, one after another, and so many side by side. Only some
trials are run so; the seconds are scaled up to all of them, which is said.

    PYTHONPATH=. python tests/benchmarks/small_trials.py --export DIR      # where the orchestrator is installed
    PYTHONPATH=. python tests/benchmarks/small_trials_elsewhere.py DIR --data DATA [--device cuda:0] [--array auto]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import contest

from tests.benchmarks.rivals.plain_trial import Trial

RIVALS = Path(__file__).resolve().parent / "rivals"
GOAL_ALONE, GOAL_BESIDE = 30, 10
OURS, ALONE = "ours", "a process per trial"
SIDE_BY_SIDE = (2, 4, 8, 16)


def trials(package: Path) -> list[Trial]:
    """What the package trains."""
    nodes = json.loads((package / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    configs = [(node["config"], node["seed"]) for node in nodes]
    return [Trial(_kind(config["model"]), config["optimizer"]["lr"], seed) for config, seed in configs]


def _kind(model: dict[str, object]) -> str:
    return "mlp" if model["name"] == "mlp" else "conv"


def ours(options: argparse.Namespace, folder: Path) -> float:
    """Seconds of the whole package."""
    command = [sys.executable, "-m", "workloads", "run", options.package, folder / "out", "--data", options.data]
    return contest.timed([*command, "--device", options.device, "--array", options.array])[0]


def beside(listed: Sequence[Trial], count: int, options: argparse.Namespace, folder: Path) -> float:
    """Seconds of one batch of `count` processes at once, as many of each model, scaled up to all trials."""
    half = len(listed) // 2
    chosen = [*listed[:half][: -(-count // 2)], *listed[half:][: count // 2]] if count > 1 else [listed[0], listed[-1]]
    batches = [chosen] if count > 1 else [[trial] for trial in chosen]
    start = time.perf_counter()
    for batch in batches:
        running = [_start(trial, options, folder) for trial in batch]
        if any(process.wait() for process in running):
            raise SystemExit("a plain trial failed")
    return (time.perf_counter() - start) * len(listed) / len(chosen)


def _start(trial: Trial, options: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    words = [str(word) for word in trial]
    command = [sys.executable, RIVALS / "one_process.py", *words, options.data, options.device, "1", folder]
    return subprocess.Popen([str(word) for word in command], cwd=contest.ROOT, stdout=subprocess.DEVNULL)


def main() -> None:
    """Read the options, compare, and end with the lines that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10's")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--array", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side-by-side", type=int, nargs="*", default=SIDE_BY_SIDE)
    options = parser.parse_args()
    options.package, options.data = options.package.absolute(), options.data.absolute()
    listed = trials(options.package)
    runs = {OURS: partial(ours, options), ALONE: partial(beside, listed, 1, options)}
    runs |= {f"{count} at once": partial(beside, listed, count, options) for count in options.side_by_side}
    times = contest.hold([contest.Contestant(name, run, options.rounds) for name, run in runs.items()])
    for name, seconds in times.items():
        print(f"{name:<24}{statistics.median(seconds):>10.1f} s for {len(listed)} trials")
    print("plain trials were run in part and scaled up")
    contest.conclude("small_trials_alone", contest.ratio(times, ALONE, OURS), GOAL_ALONE)
    if options.side_by_side:
        best = min(
            (name for name in times if name not in (OURS, ALONE)), key=lambda name: statistics.median(times[name])
        )
        contest.conclude("small_trials_beside", contest.ratio(times, best, OURS), GOAL_BESIDE)


if __name__ == "__main__":
    main()
