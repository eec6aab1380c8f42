"""What a large sweep costs before anything runs: 10,000 trials of three stages, all of whose 30,000 nodes are there.

The store is made by a real `sweep run --inline` of a workload that does nothing. Then, each in a process of its own:
`sweep plan` without and with that store, `sweep status`, and a `sweep run` that finds everything done. Wall time from
the process' start to its exit, its CPU time, and the most memory that it had.

    python tests/benchmarks/large_plan.py [--trials 10000] [--rounds 3] [--store DIR]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import contest

LEVELS = 100
LIMITS = {"plan, nothing there": 5.0, "plan": 5.0, "status": 10.0, "run, nothing to do": 10.0}  # seconds
MEMORY = 500.0  # MB, of plan
SPEC = """\
name: large
title: How long does a large sweep take to see that it is done?
stages:
  first: {{workload: tests.toys.noop}}
  second: {{workload: tests.toys.noop, from: first}}
  third: {{workload: tests.toys.noop, from: second}}
axes:
  first.x: [{levels}]
  seed: {seeds}
tables:
  values: {{rows: [first.x], values: [value]}}
"""
MEASURED = """\
import json, resource, subprocess, sys, time
clock = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds, used = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
sys.exit(code)
"""


def sweep(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "orchestrator.cli", *arguments]


def measured(command: list[str | Path]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of a process; the largest of its own children counts for memory."""
    _, printed = contest.timed([sys.executable, "-c", MEASURED, *command])
    return tuple(json.loads(printed))


def main() -> None:
    """Make the store unless there is one, measure, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help=f"a multiple of {LEVELS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="make it here and leave it, or use the one that is here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = options.store or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        spec, store = folder / "large.yaml", folder / "store"
        levels = ", ".join(f"{level}.0" for level in range(LEVELS))
        spec.write_text(SPEC.format(levels=levels, seeds=options.trials // LEVELS), encoding="utf-8")
        if not store.is_dir():
            seconds, _ = contest.timed(sweep("run", spec, "--store", store, "--inline", "--quiet"))
            print(f"made the store in {seconds:.0f} s")
        commands = {
            "plan, nothing there": sweep("plan", spec, "--store", folder / "none"),
            "plan": sweep("plan", spec, "--store", store),
            "status": sweep("status", "--store", store),
            "run, nothing to do": sweep("run", spec, "--store", store, "--quiet"),
        }
        figures = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                figures[name].append(measured(command))
    worst = 0.0
    print(f"\n{'':<22}{'seconds':>9}{'limit':>7}{'CPU s':>8}{'peak MB':>9}")
    for name, rounds in figures.items():
        seconds, cpu, memory = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:<22}{seconds:>9.2f}{LIMITS[name]:>7g}{cpu:>8.2f}{memory:>9.0f}")
        worst = max(worst, seconds / LIMITS[name], memory / MEMORY if name.startswith("plan") else 0.0)
    contest.conclude("large_plan", 1 / worst, 1.0)


if __name__ == "__main__":
    main()
