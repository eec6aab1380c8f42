"""A workload that calls `sys.exit` fails its node, and ends neither the run nor its worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import execute
from tests.unit.orchestrator.test_execute import WALK, Bench, node
from workloads.contract import Config, Context, Ended, Hardware, Job, Result, load_workload


@pytest.mark.parametrize("together", [False, True])
def test_a_workload_that_exits_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool):
    def run(config: Config, context: Context) -> Result:
        if context.seed == 1:
            sys.exit(0)
        return Result({"value": 1.0})

    def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
        for job in jobs:
            yield Ended(job, run(job.config, job.context), 0.1, 2)

    exiting = replace(load_workload(WALK), run=run, run_array=run_array)
    monkeypatch.setattr(execute, "load_workload", lambda name: exiting)
    bench = Bench(tmp_path)
    bench.run(node("a", 0), node("b", 1), together=together)
    assert bench.error("b") == "SystemExit: 0"
    assert bench.outcome("a").metrics == {"value": 1.0}
