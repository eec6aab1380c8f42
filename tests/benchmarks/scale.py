"""200 machines of 8 GPUs and 100,000 trials, simulated: does the frontier keep the GPUs busy, and what does it cost?

The real planner plans a generated sweep (corrupted starts that 20 trainings share, each measured twice), the real
frontier hands it out, and outcomes are committed to a real store before they are reported. Only the machines, the
lengths of nodes and the clock are simulated. Machines are taken away and come back, workers die, nodes fail. Beside it
the same nodes meet the same fate handed out in turn.

    PYTHONPATH=. python tests/benchmarks/scale.py [--trials 100000] [--machines 200] [--gpus 8] [--every 50]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

import contest
import psutil

from orchestrator import record
from orchestrator.frontier import Frontier
from orchestrator.plan import Plan
from orchestrator.planning.costs import Costs
from orchestrator.planning.forecast import Pricing
from orchestrator.storage.leases import Leases
from orchestrator.store import Store
from tests.simulated.cluster import Clock, Fate, Machines, Simulation, Trace
from tests.simulated.rivals import InTurn, lower_bound
from tests.simulated.sweep import Committing, Metered, planned

UTILIZATION, DECISION, MEMORY, MAKESPAN = 0.95, 1e-3, 2000.0, 1.1
FAILING, CRASHING, HOURS = 0.001, 0.01, 24.0
SEED = 0


def megabytes() -> tuple[float, float]:
    """What this process has now, and the most that it had."""
    return psutil.Process().memory_info().rss / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


class Stopwatch:
    """Says what took how long."""

    def __init__(self) -> None:
        self._start, self._used = time.perf_counter(), time.process_time()

    def say(self, what: str) -> None:
        now, used = time.perf_counter(), time.process_time()
        memory = "{:.0f} MB, at most {:.0f}".format(*megabytes())
        print(f"{what:<58}{now - self._start:7.1f} s{used - self._used:7.1f} CPU s   {memory}", flush=True)
        self._start, self._used = now, used


def check(plan: Plan, frontier: Frontier, committing: Committing) -> Counter[str]:
    """How the trials ended.

    Raises:
        SystemExit: a node was committed twice or not at all, or a trial has no end.
    """
    twice = sum(count > 1 for count in committing.times.values())
    ended = len(frontier.done) + len(frontier.failures) + len(frontier.skipped)
    if twice or ended != len(plan.nodes) or committing.times.keys() != frontier.done.keys():
        raise SystemExit(f"{twice} nodes were computed twice; {ended} of {len(plan.nodes)} have ended")
    rows = record.rows(plan, frontier.done, frontier.failures)
    statuses = Counter(rows.column("status").to_pylist())
    if len(set(rows.column("meta.trial").to_pylist())) != len(plan.trials) or statuses["missing"]:
        raise SystemExit(f"the trials ended as {dict(statuses)}; each must end once")
    return statuses


def show(name: str, trace: Trace, bound: float, gpus: int) -> None:
    lost = trace.used - bound * gpus
    print(
        f"{name:<12}{trace.utilization:>12.2%}{trace.makespan / 3600:>12.2f}{trace.makespan / bound:>10.3f}"
        f"{lost / trace.used:>10.2%}{trace.taken_away:>10}{trace.crashed:>9}{trace.groups:>9}"
    )


def main() -> None:
    """Plan, run twice, check, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=8, help="of a machine")
    parser.add_argument("--every", type=int, default=50, help="of so many trainings one is committed as a folder")
    options = parser.parse_args()
    gpus, watch = options.machines * options.gpus, Stopwatch()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        watch.say("imports")
        plan = planned(Path(name), options.trials)
        watch.say(f"planned {len(plan.trials):,} trials, {len(plan.nodes):,} nodes")
        pricing = Pricing(Costs(), "cuda")
        expected = {key: pricing.of(node).seconds for key, node in plan.nodes.items()}
        fate = Fate.drawn(plan, expected, SEED, FAILING, CRASHING)
        machines = Machines(options.machines, options.gpus, HOURS, seed=SEED)
        store = Store.at(Path(name) / "store").prepare()
        committing, clock = Committing(store, options.every), Clock()
        watch.say("drew what will happen")
        with Leases(store) as leases:
            frontier = Frontier(plan, {}, leases, gpus, seconds=expected, clock=clock)
            watch.say("made the frontier")
            metered = Metered(frontier)
            trace = Simulation(plan, metered, clock, machines, fate, committing.outcome, committing).run()
            watch.say(f"ran it on {options.machines} machines of {options.gpus} GPUs")
        most = megabytes()[1]
        statuses = check(plan, frontier, committing)
        watch.say(f"checked {len(plan.trials):,} rows: " + ", ".join(f"{n:,} {s}" for s, n in statuses.items() if n))
        ran = {key: fate.seconds[key] for key in (*frontier.done, *frontier.failures)}
        bound = lower_bound(plan, ran, gpus)
        rival = Simulation(
            plan, InTurn(plan), clock := Clock(), machines, fate, committing.outcome, lambda outcomes, _: outcomes
        ).run()
        watch.say("ran it again, handed out in turn")
    print(
        f"\nstore: {committing.rows:,} rows in {committing.files:,} files, {committing.folders:,} folders; "
        f"commits took {committing.seconds:.0f} s"
    )
    print(
        f"\n{'':<12}{'utilization':>12}{'hours':>12}{'/ bound':>10}{'lost':>10}{'away':>10}{'crashed':>9}{'groups':>9}"
    )
    show("frontier", trace, bound, gpus)
    show("in turn", rival, bound, gpus)
    wall, used = (sum(spent.values()) / metered.decisions for spent in (metered.seconds, metered.used))
    each = f"{wall * 1e3:.3f} ms each, {used * 1e3:.3f} of CPU"
    print(f"\n{metered.decisions:,} decisions; the frontier's own time is {each}")
    for what, count in metered.calls.items():
        print(f"  {what:<10}{count:>9} calls{metered.seconds[what]:>9.1f} s{metered.used[what]:>9.1f} CPU s")
    print(f"memory: at most {most:.0f} MB")
    ratios = (
        trace.utilization / UTILIZATION,
        DECISION / wall,
        MEMORY / most,
        MAKESPAN * bound / trace.makespan,
    )
    contest.conclude("scale", min(ratios), 1.0)


if __name__ == "__main__":
    main()
