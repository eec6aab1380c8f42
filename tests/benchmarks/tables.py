"""Tables: what `sweep table` costs on 100,000 trials of 50 metrics, and what a table of 2,000 costs here and in MLflow.

1. `sweep table` in a process of its own, all 50 metrics over a grid of levels: seconds from start to exit, peak memory.
2. The first 2,000 of these trials, here and in an MLflow experiment (sqlite, runs with the levels as params): the
   table of one of them from Parquet by ours, and by `mlflow.search_runs` with pandas' groupby. Both in this process,
   imports and the start of MLflow's store not counted; means and standard deviations are compared to 1e-12.

    python tests/benchmarks/tables.py [--trials 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import contest
import numpy
import pandas
import pyarrow
from large_plan import measured, sweep

from orchestrator import record, tables
from orchestrator.commands.request import saved_spec
from orchestrator.findings.render import render
from orchestrator.plan import Plan
from orchestrator.run import save_spec
from orchestrator.spec import read
from orchestrator.store import Store

METRICS, WIDTHS, STARTS = 50, 10, 10
IN_BOTH = 2000
SECONDS, MEGABYTES, GOAL = 3.0, 1000.0, 20.0
NAMES = [f"metric{number}" for number in range(METRICS)]
SPEC = """\
name: {name}
stages:
  fit: {{workload: tests.toys.noop}}
axes:
  fit.x: [{widths}]
  start: {{{starts}}}
  seed: {seeds}
tables:
  all: {{rows: [fit.x], columns: [start], values: [{metrics}]}}
"""


def make(folder: Path, name: str, trials: int) -> Store:
    """A store with the records of a sweep, as if it had been run."""
    path, seeds = folder / f"{name}.yaml", trials // (WIDTHS * STARTS)
    starts = ", ".join(f"s{number}: {{}}" for number in range(STARTS))
    widths = ", ".join(f"{number}.0" for number in range(WIDTHS))
    path.write_text(SPEC.format(name=name, widths=widths, starts=starts, seeds=seeds, metrics=", ".join(NAMES)))
    spec, store = read(path), Store.at(folder / "store").prepare()
    save_spec(Plan(spec, (), {}), store)
    record.write(store.records_folder(name), rows(trials), spec)
    return store


def rows(trials: int) -> pyarrow.Table:
    """Trials in the order of the plan, the seed fastest, with every column that records have."""
    place, each = numpy.arange(trials), trials // (WIDTHS * STARTS)
    draw = numpy.random.default_rng(trials)
    columns: dict[str, object] = {
        "axis.fit.x": (place // (STARTS * each)).astype(float),
        "axis.start": [f"s{number}" for number in (place // each % STARTS)],
        "axis.seed": place % each,
    }
    columns |= {f"metric.{name}": draw.normal(size=trials) for name in NAMES}
    columns |= {"status": ["done"] * trials, "error": pyarrow.nulls(trials, pyarrow.string())}
    keys = [f"{number:032x}" for number in draw.integers(0, 2**62, trials)]
    columns |= {"meta.trial": keys, "meta.group": [f"x={number}" for number in place // each], "meta.node.fit": keys}
    columns |= {"meta.seconds": draw.random(trials), **{f"meta.{name}": ["a"] * trials for name in record.PROVENANCE}}
    return pyarrow.table(columns)


def fill_mlflow(uri: str, trials: pyarrow.Table) -> str:
    """The same trials as finished runs of an MLflow experiment; returns its id."""
    import mlflow
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("tables")
    for row in trials.to_pylist():
        run = client.create_run(experiment)
        metrics = [Metric(name, row[f"metric.{name}"], 0, 0) for name in NAMES]
        params = [Param(name, str(row[f"axis.{name}"])) for name in ("fit.x", "start", "seed")]
        client.log_batch(run.info.run_id, metrics, params)
        client.set_terminated(run.info.run_id)
    return experiment


def theirs(experiment: str) -> pandas.DataFrame:
    """Mean and standard deviation by level of all metrics, from MLflow."""
    import mlflow

    runs = mlflow.search_runs([experiment], max_results=IN_BOTH)
    columns = [f"metrics.{name}" for name in NAMES]
    return pandas.DataFrame(runs.groupby(["params.fit.x", "params.start"])[columns].agg(["mean", "std", "count"]))


def ours(store: Store, name: str) -> tuple[tables.Table, str]:
    """The table from the files, and as text."""
    records = record.read(store.records_folder(name), record.PRINTED)
    made = tables.table(saved_spec(store, name).tables["all"], records, store.sweep_folder(name))
    return made, render(made, "text")


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(made: tables.Table, frame: pandas.DataFrame) -> None:
    """Refuses to go on where the two disagree."""
    for levels, cells in zip(made.row_labels, made.cells, strict=True):
        for (column, metric), cell in zip(made.header, cells, strict=True):
            line = frame.loc[(str(levels[0]), str(column[0])), f"metrics.{metric}"]
            expected = numpy.array([line["mean"], line["std"], line["count"]])
            found = numpy.array([cell.mean, cell.spread, cell.n], float)
            assert numpy.allclose(found, expected, rtol=1e-12, atol=1e-12), (levels, column, metric)


def against_mlflow(folder: Path, rounds: int) -> float:
    """How many times faster a table of 2,000 trials is here."""
    import mlflow

    store, uri = make(folder, "small", IN_BOTH), f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    seconds = time.perf_counter()
    experiment = fill_mlflow(uri, record.read(store.records_folder("small")))
    print(f"made {IN_BOTH} runs in MLflow in {time.perf_counter() - seconds:.0f} s")
    compare(ours(store, "small")[0], theirs(experiment))
    times = contest.hold(
        [
            contest.Contestant("ours", lambda _: timed(lambda: ours(store, "small")), rounds),
            contest.Contestant("mlflow.search_runs and pandas", lambda _: timed(lambda: theirs(experiment)), rounds),
        ]
    )
    return contest.ratio(times, "mlflow.search_runs and pandas", "ours")


def main() -> None:
    """Make the records, measure, and end with the line that scripts read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000, help=f"a multiple of {WIDTHS * STARTS}")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        store = make(Path(name), "large", options.trials)
        size = (store.records_folder("large") / "trials.parquet").stat().st_size / 1e6
        print(f"{options.trials} trials of {METRICS} metrics: {size:.0f} MB of Parquet")
        command = sweep("table", "large", "--store", store.root)
        found = [measured(command) for _ in range(options.rounds)]
        seconds, cpu, memory = (sorted(column)[len(found) // 2] for column in zip(*found, strict=True))
        print(f"sweep table: {seconds:.2f} s (limit {SECONDS:g}), CPU {cpu:.2f} s, {memory:.0f} MB ({MEGABYTES:g})")
        faster = against_mlflow(Path(name), options.rounds)
    print(json.dumps({"seconds": seconds, "megabytes": memory, "faster": faster}), file=sys.stderr)
    contest.conclude("tables, limits", min(SECONDS / seconds, MEGABYTES / memory), 1.0)
    contest.conclude("tables", faster, GOAL)


if __name__ == "__main__":
    main()
