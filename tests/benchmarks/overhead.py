"""What a trial costs beyond its own work: 1,000 trials of a workload that does nothing, through the whole path.

Ours: `sweep run`, from the process' start to its exit, when the table is printed, the rows are in Parquet and the
tracker has written all to MLflow on sqlite. Beside it, in turn, each a process of its own: Ray Tune alone at its
fastest, Ray Tune with MLflow as its documentation teaches it, and MLflow's client calls in a bare loop.

    python tests/benchmarks/overhead.py [--trials 1000] [--rounds 2] [--taught 50] [--growth]
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
from functools import partial
from pathlib import Path

import contest
import pyarrow.parquet

RIVALS = Path(__file__).resolve().parent / "rivals"
JOBS = 2
GOAL, GOAL_GROWTH = 0.5, 1.3
OURS, BARE, TRACKING, TAUGHT = "ours", "bare Tune", "bare MLflow", "Tune as taught"
GOALS = {BARE: " (goal at most 2)", TRACKING: "", TAUGHT: " (goal at most 0.1)"}
SPEC = """\
name: overhead
title: What does a trial cost that does nothing?
stages:
  noop: {{workload: tests.toys.noop}}
axes:
  noop.x: [{levels}]
  seed: {seeds}
tables:
  values:
    rows: [noop.x]
    values: [value]
"""


def spec(num_trials: int) -> str:
    """A sweep of `num_trials` trials: ten levels, the rest seeds, as sweeps are."""
    num_levels = 10 if num_trials % 10 == 0 else 1
    return SPEC.format(levels=", ".join(f"{level}.0" for level in range(num_levels)), seeds=num_trials // num_levels)


def ours(num_trials: int, folder: Path) -> float:
    """Seconds of the whole path.

    Raises:
        SystemExit: it left something undone: a row, a run or a part of the spool.
    """
    path, store = folder / "overhead.yaml", folder / "store"
    path.write_text(spec(num_trials), encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator.cli", "run", path, "--store", store, "--jobs", JOBS, "--quiet"]
    seconds, printed = contest.timed([str(word) for word in command])
    if "value" not in printed:
        raise SystemExit(f"no table was printed:\n{printed}")
    check(store, num_trials)
    return seconds


def check(store: Path, num_trials: int) -> None:
    """Every trial is a finished row and a finished MLflow run, and nothing waits in the spool."""
    statuses = pyarrow.parquet.read_table(store / "records" / "overhead" / "trials.parquet")["status"].to_pylist()
    if statuses != ["done"] * num_trials:
        raise SystemExit(f"{statuses.count('done')} of {num_trials} trials are done")
    waiting = [path.name for path in (store / "spool").rglob("*") if path.is_file() and path.stat().st_size]
    if waiting:
        raise SystemExit(f"the spool is not empty: {', '.join(waiting[:5])}")
    with sqlite3.connect(store / "mlflow.db") as database:
        query = (
            "select count(*) from runs join tags on runs.run_uuid = tags.run_uuid "
            "where runs.status = 'FINISHED' and tags.key = 'mlflow.parentRunId'"
        )
        (num_runs,) = database.execute(query).fetchone()
    if num_runs < num_trials:
        raise SystemExit(f"MLflow has {num_runs} finished runs of {num_trials}")


def rival(name: str, num_trials: int, folder: Path) -> float:
    seconds, _ = contest.timed([sys.executable, RIVALS / f"{name}.py", str(num_trials), folder, str(JOBS)])
    return seconds


RUNS = {
    OURS: ours,
    BARE: partial(rival, "bare_tune"),
    TRACKING: partial(rival, "bare_mlflow"),
    TAUGHT: partial(rival, "taught_tune"),
}


def compare(sizes: dict[str, int], num_rounds: int) -> float:
    """Hold the contest of who has a size, print its figures, return bare Tune's time over ours."""
    contestants = []
    for name, size in sizes.items():
        rounds = 1 if name == TAUGHT else num_rounds
        contestants.append(contest.Contestant(f"{name}, {size} trials", partial(RUNS[name], size), rounds))
        contestants.append(contest.Contestant(f"{name}, start-up", partial(RUNS[name], 1), 1))
    times = contest.hold(contestants)
    print(f"\n{'':<16}{'trials':>8}{'seconds':>10}{'start-up':>10}{'ms a trial':>12}{'less start-up':>15}")
    cost = {}
    for name, size in sizes.items():
        whole, start_up = (statistics.median(times[f"{name}, {what}"]) for what in (f"{size} trials", "start-up"))
        each, marginal = 1e3 * whole / size, 1e3 * (whole - start_up) / max(size - 1, 1)
        print(f"{name:<16}{size:>8}{whole:>10.2f}{start_up:>10.2f}{each:>12.1f}{marginal:>15.1f}")
        cost[name] = each, marginal
    print("\nA trial of ours costs, with and without the start-up:")
    for name in [name for name in sizes if name != OURS]:
        whole, marginal = (own / theirs for own, theirs in zip(cost[OURS], cost[name], strict=True))
        print(f"  {whole:.3f} and {marginal:.3f} of what it costs {name}{GOALS[name]}")
    return contest.ratio(times, f"{BARE}, {sizes[BARE]} trials", f"{OURS}, {sizes[OURS]} trials")


def growth(sizes: tuple[int, int, int] = (100, 1000, 3000)) -> None:
    """Print how the marginal cost of a trial changes with the size of the sweep."""
    print("\nGrowth:")
    times = contest.hold([contest.Contestant(f"{OURS}, {size} trials", partial(ours, size), 1) for size in sizes])
    seconds = [times[f"{OURS}, {size} trials"][0] for size in sizes]
    early, late = ((seconds[i + 1] - seconds[i]) / (sizes[i + 1] - sizes[i]) for i in (0, 1))
    print(f"  a further trial costs {early * 1e3:.1f} ms up to {sizes[1]} trials, {late * 1e3:.1f} ms up to {sizes[2]}")
    print(f"  {late / early:.2f} times (goal at most {GOAL_GROWTH:g})")


def main() -> None:
    """Read the options, compare, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--taught", type=int, default=50, help="trials of Tune as taught, which is slow (0: leave out)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of all but Tune as taught, which has one")
    parser.add_argument("--growth", action="store_true", help="also how the cost of a trial changes up to 3,000")
    options = parser.parse_args()
    sizes = dict.fromkeys((OURS, BARE, TRACKING), options.trials) | {TAUGHT: options.taught}
    result = compare({name: size for name, size in sizes.items() if size}, options.rounds)
    if options.growth:
        growth()
    contest.conclude("overhead", result, GOAL)


if __name__ == "__main__":
    main()
