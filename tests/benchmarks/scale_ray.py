"""What the head can do: trials a second and the driver's memory, for 2,000 and 10,000 trials that do nothing.

`sweep run` with Ray on this machine and MLflow on sqlite, as everybody runs it. Twice for each size: as it is, where
small nodes share a group, and with a group for each node, as trainings are that take minutes: there each trial costs
Tune a decision. The rate is shown for each fifth of the trials: it must not fall, and memory must not run away.

    PYTHONPATH=. python tests/benchmarks/scale_ray.py [--trials 2000 10000] [--jobs 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import contest
import overhead
import psutil

PARTS = 5
STEADY = 0.7  # of the rate of the second fifth, which the last must have at least
AS_IT_IS = "import sys; from orchestrator.cli import main; sys.exit(main())"
ALONE = f"from orchestrator.running import grouping; grouping.GROUP_SECONDS = 0.0; {AS_IT_IS}"
FORMS = {"as it is": AS_IT_IS, "a group each": ALONE}


@dataclass(frozen=True)
class Figures:
    """One run: when each trial was done, seconds from the start of the process, and the driver's memory then, in MB."""

    seconds: float
    done: list[tuple[float, float]]

    def rates(self) -> list[float]:
        """Trials a second in each part; the first begins with the first trial."""
        ends = [self.done[len(self.done) * part // PARTS - 1][0] for part in range(1, PARTS + 1)]
        starts = [self.done[0][0], *ends]
        return [len(self.done) / PARTS / max(end - start, 1e-3) for start, end in zip(starts, ends, strict=False)]

    def memory(self) -> list[float]:
        return [self.done[len(self.done) * part // PARTS - 1][1] for part in range(1, PARTS + 1)]


def run(trials: int, jobs: int, code: str, folder: Path) -> Figures:
    """Run a sweep of so many trials, in a process of its own.

    Raises:
        SystemExit: it failed, or left a trial undone.
    """
    path, store = folder / "overhead.yaml", folder / "store"
    path.write_text(overhead.spec(trials), encoding="utf-8")
    words = ["run", path, "--store", store, "--jobs", jobs, "--json"]
    environment = os.environ | {"PYTHONPATH": str(contest.ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    start, done = time.perf_counter(), []
    with open(folder / "errors", "w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            cwd=contest.ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        driver, memory = psutil.Process(process.pid), [0.0]
        ended = threading.Event()
        sampler = threading.Thread(target=sample, args=(driver, memory, ended))
        sampler.start()
        for line in process.stdout:
            if json.loads(line)["event"] == "node_done":
                done.append((time.perf_counter() - start, memory[0]))
        ended.set()
        sampler.join()
        if process.wait():
            raise SystemExit((folder / "errors").read_text()[-4000:])
    seconds = time.perf_counter() - start
    overhead.check(store, trials)
    return Figures(seconds, done)


def sample(driver: psutil.Process, memory: list[float], ended: threading.Event) -> None:
    """Keep what memory a process has now."""
    while not ended.wait(0.2):
        try:
            memory[0] = driver.memory_info().rss / 2**20
        except psutil.Error:
            return


def main() -> None:
    """Run every form at every size, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    steady = []
    print(f"{'':<14}{'trials':>8}{'seconds':>9}{'trials/s':>10}   {'trials/s by fifths':<42}driver's MB by fifths")
    for name, code in FORMS.items():
        for trials in options.trials:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                found = run(trials, options.jobs, code, Path(folder))
            rates, memory = found.rates(), found.memory()
            print(
                f"{name:<14}{trials:>8}{found.seconds:>9.1f}{trials / found.seconds:>10.1f}   "
                + "".join(f"{rate:>8.1f}" for rate in rates)
                + "  "
                + "".join(f"{size:>7.0f}" for size in memory),
                flush=True,
            )
            steady.append(rates[-1] / rates[1])
    contest.conclude("scale_ray", min(steady), STEADY)


if __name__ == "__main__":
    main()
