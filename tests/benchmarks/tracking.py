"""Tracking: how fast trials reach MLflow, what logging costs a trial, and what many emitters cost in memory.

1. Trials of 10 params and 100 metrics (10 names, 10 steps) reach MLflow: by our tracker and its writer, by the plain
   loop of `mlflow.log_metric`, by Ray's own callback; on the embedded sqlite, and on a server with PostgreSQL. Ours is
   timed from the first event until the writer has said that MLflow has all, its start included, and it sends more:
   tags, configs and logs as artifacts. The others are timed without their imports, for fewer trials, and scaled up.
2. A real sweep under Ray whose trials time their own calls of `log`: their sum over the trials' run time.
3. Emitters, each logging 10 metrics a second: memory of the driver and of the writer, and what is left in the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import contest
import psutil
import pyarrow.parquet

from orchestrator.plan import Plan, PlannedTrial
from orchestrator.planning.node import Node
from orchestrator.running.events import Event, NodeDone, NodeLogged, NodeStarted
from orchestrator.space import Trial
from orchestrator.store import Outcome, Store
from orchestrator.to_mlflow.server import embedded_uri
from orchestrator.tracking import Tracker
from tests.integration.servers import PASSWORD, POSTGRES, MlflowServer, content, postgres

RIVALS = Path(__file__).resolve().parent / "rivals"
PARAMS, NAMES, STEPS = 10, 10, 10
LOOP_GOAL, CALLBACK_GOAL, INSIDE_GOAL = 10.0, 1.0, 0.01
WHOLE = 1000  # trials that all times are scaled to
MEGABYTE = 2**20
SWEEP = """
name: inside
stages:
  fit: {workload: tests.toys.chatty, steps: 10, names: 10, work: 0.1, timed: true}
axes:
  seed: 16
"""


def a_plan(trials: int, name: str) -> Plan:
    """Trials of one node each, with nine settings and a seed."""
    nodes, planned = {}, []
    for seed in range(trials):
        key, config = f"{name}-node-{seed}", {f"param{number}": f"{seed}.{number}" for number in range(PARAMS - 1)}
        nodes[key] = Node(key, "fit", None, "tests.toys.chatty", config, seed, {}, key)
        planned.append(PlannedTrial(Trial({"seed": seed}, {}, seed), f"{name}-{seed}", {"fit": key}, ("fit",)))
    spec = SimpleNamespace(record_name=name, scale="paper", axes={}, stages={})
    return Plan(spec, tuple(planned), nodes)  # pyright: ignore[reportArgumentType]


def done(plan: Plan, key: str) -> NodeDone:
    node, now = plan.nodes[key], time.time()
    outcome = Outcome(key, node.workload, "done", {}, node.config, node.seed, None, 1.0, {"finished": now}, {})
    return NodeDone(key, outcome, now)


def events(plan: Plan) -> Iterator[Event]:
    for key, node in plan.nodes.items():
        yield NodeStarted(key, time.time(), "host:1")
        for step in range(STEPS):
            values = {f"level{number}": (node.seed + number) / (step + 1) for number in range(NAMES)}
            yield NodeLogged(key, step, values, time.time())
        yield done(plan, key)


def ours(trials: int, uri: str | None, folder: Path) -> float:
    """Seconds until MLflow has the trials, scaled to all; checked for completeness."""
    store = Store.at(folder / "store").prepare()
    if uri is None:
        make_tables(embedded_uri(store))
    plan = a_plan(trials, f"ours{time.time_ns()}")
    start = time.perf_counter()
    tracker = Tracker(plan, store, {}, folder, uri)
    for event in events(plan):
        tracker(event)
    left = tracker.close()
    seconds = time.perf_counter() - start
    found = content(uri or embedded_uri(store), plan.spec.record_name) if trials <= WHOLE // 10 else {}
    short = [key for key, run in found.items() if key != "above" and sum(map(len, run["metrics"].values())) != 100]
    if left or short:
        raise SystemExit(f"{left} operations did not arrive, {len(short)} trials are not complete")
    return seconds * WHOLE / trials


def make_tables(uri: str) -> None:
    """MLflow's tables, which all contestants find in place."""
    code = f"from mlflow import MlflowClient; MlflowClient({uri!r}).search_experiments()"
    contest.timed([sys.executable, "-c", code])


def rival(script: str, trials: int, uri: str | None, folder: Path) -> float:
    """Seconds of a rival, scaled to all trials."""
    uri = uri or f"sqlite:///{folder}/mlflow.db"
    make_tables(uri)
    words = [trials, uri, f"{script}{time.time_ns()}", PARAMS, NAMES, STEPS]
    _, output = contest.timed([sys.executable, RIVALS / f"{script}.py", *map(str, words)])
    return float(output.split("seconds ")[1].split()[0]) * WHOLE / trials


def throughput(options: argparse.Namespace, backend: str, uri: str | None) -> list[tuple[str, float, float]]:
    """Our rate over the others', with the goals."""
    own, loop, callback = f"ours, {backend}", f"mlflow.log_metric, {backend}", f"Ray's callback, {backend}"
    times = contest.hold(
        [
            contest.Contestant(own, partial(ours, options.trials, uri), options.rounds),
            contest.Contestant(loop, partial(rival, "loop_mlflow", options.others, uri), options.rounds),
            contest.Contestant(callback, partial(rival, "ray_mlflow", options.others, uri), options.rounds),
        ]
    )
    for name, seconds in times.items():
        rate = WHOLE / statistics.median(seconds)
        print(f"{name:<36} {rate:8.1f} trials/s, {rate * NAMES * STEPS:9.0f} metrics/s")
    return [
        (f"tracking {backend} over the loop", contest.ratio(times, loop, own), LOOP_GOAL),
        (f"tracking {backend} over Ray's callback", contest.ratio(times, callback, own), CALLBACK_GOAL),
    ]


def inside(folder: Path) -> float:
    """The share of their run time that trials of a real sweep spend inside calls of tracking."""
    (folder / "inside.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "orchestrator.cli", "run", folder / "inside.yaml", "--store", folder / "store"]
    contest.timed([*command, "--quiet", "--jobs", "2"])
    records = pyarrow.parquet.read_table(folder / "store" / "records" / "inside" / "trials.parquet")
    spent, whole = (sum(records[f"metric.{name}"].to_pylist()) for name in ("log_seconds", "run_seconds"))
    print(f"{records.num_rows} trials of 100 metrics: {spent:.4f} s inside calls of tracking, of {whole:.1f} s")
    return spent / whole


def emitters(count: int, seconds: float, folder: Path) -> float:
    """Nodes that log 10 metrics a second each; how much the two processes' memory grew after the first fifth, in MB."""
    store = Store.at(folder / "store").prepare()
    make_tables(embedded_uri(store))
    plan = a_plan(count, "emitters")
    tracker = Tracker(plan, store, {}, folder)
    driver, sizes, start, step = psutil.Process(), [], time.monotonic(), 0
    for key in plan.nodes:
        tracker(NodeStarted(key, time.time(), "host:1"))
    while (now := time.monotonic() - start) < seconds:
        if now < step / 10:
            time.sleep(step / 10 - now)
        for key in plan.nodes:
            tracker(NodeLogged(key, step, {"level": step / 7}, time.time()))
        step += 1
        if step % 100 == 0:
            sizes.append((driver.memory_info().rss + writer_memory(tracker)) / MEGABYTE)
    late = time.monotonic() - start - seconds
    for key in plan.nodes:
        tracker(done(plan, key))
    closing = time.monotonic()
    left = tracker.close()
    rate = step * count / seconds
    print(f"{count} emitters for {seconds:.0f} s: {rate:.0f} metrics/s emitted ({late:.1f} s late), {left} left,")
    print(f"  all there {time.monotonic() - closing:.1f} s after the last; memory of driver and writer:")
    print(f"  {sizes[0]:.0f} MB after 10 s, {max(sizes):.0f} MB at most, {sizes[-1]:.0f} MB in the end")
    if left or late > 1:
        raise SystemExit("they were not held")
    return sizes[-1] - sizes[len(sizes) // 5]


def writer_memory(tracker: Tracker) -> int:
    process = tracker._writer
    return psutil.Process(process.pid).memory_info().rss if process and process.poll() is None else 0


def main() -> None:
    """Read the options, measure, and end with the lines that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=WHOLE)
    parser.add_argument("--others", type=int, default=20, help="trials of the others; the rest is extrapolated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--emitters", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300, help="how long they emit; 0 leaves them out")
    parser.add_argument("--only", choices=["sqlite", "postgres", "inside", "emitters"])
    options = parser.parse_args()
    parts = [options.only] if options.only else ["sqlite", "postgres", "inside", "emitters"]
    verdicts: list[tuple[str, float, float]] = []
    if "sqlite" in parts:
        verdicts += throughput(options, "sqlite", None)
    if "postgres" in parts and not POSTGRES:
        print("PostgreSQL IS NOT INSTALLED: apt-get install postgresql", file=sys.stderr)
    elif "postgres" in parts:
        verdicts += on_postgres(options)
    if "inside" in parts:
        verdicts.append(("tracking 1 % over its share of a trial", INSIDE_GOAL / contest.hold_one(inside), 1.0))
    if "emitters" in parts and options.seconds:
        grown = contest.hold_one(partial(emitters, options.emitters, options.seconds))
        print(f"memory grew by {grown:.1f} MB after the first fifth")
        verdicts.append(("tracking 64 MB over the growth in memory", 64 / max(grown, 1.0), 1.0))
    print(f"The others ran {options.others} trials, ours {options.trials}; rates are per trial, times for {WHOLE}.")
    for verdict in verdicts:
        contest.conclude(*verdict)


def on_postgres(options: argparse.Namespace) -> list[tuple[str, float, float]]:
    """The same against `mlflow server` with PostgreSQL, for all of them."""
    import tempfile

    os.environ["PGPASSWORD"] = PASSWORD
    with postgres() as database, tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
        server = MlflowServer(Path(folder), database)
        try:
            server.start()
            return throughput(options, "PostgreSQL", server.uri)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
