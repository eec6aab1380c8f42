"""The frame of every benchmark: contestants run in turn, several rounds, and what is compared is the median of ratios.

Rounds are interleaved, so that a machine that grows slower or busier on the way does so for all of them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Contestant:
    """`run(folder)` does the work in an empty folder and returns its seconds; it runs in the first `rounds` rounds."""

    name: str
    run: Callable[[Path], float]
    rounds: int


def hold(contestants: Sequence[Contestant]) -> Times:
    """Seconds of every contestant, round by round; every other round goes backwards."""
    times: Times = {contestant.name: [] for contestant in contestants}
    for index in range(max(contestant.rounds for contestant in contestants)):
        present = [contestant for contestant in contestants if index < contestant.rounds]
        for contestant in reversed(present) if index % 2 else present:
            seconds = hold_one(contestant.run)
            times[contestant.name].append(seconds)
            print(f"  round {index + 1}: {contestant.name:<44} {seconds:8.2f} s", flush=True)
    return times


def hold_one(run: Callable[[Path], float]) -> float:
    """What one contestant returns, in an empty folder."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        return run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ratio(times: Mapping[str, Sequence[float]], other: str, ours: str) -> float:
    """Median over the rounds both ran of `other`'s time over `ours`: above 1, ours is faster."""
    return statistics.median(theirs / own for theirs, own in zip(times[other], times[ours], strict=False))


def timed(command: Sequence[str | Path]) -> tuple[float, str]:
    """Seconds from a process' start to its exit, and what it printed.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    for name in ("PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    start = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        raise SystemExit(f"exit code {done.returncode}: {' '.join(map(str, command))}")
    return seconds, done.stdout


def conclude(name: str, value: float, goal: float) -> None:
    """The last line, which scripts read: larger is better."""
    print(f"{name}: ratio {value:.2f} (goal {goal:g})")
