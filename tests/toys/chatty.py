"""A workload that logs: a curve of `steps` points, an array and an artifact. It can say how long the logging took."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy
from pydantic import Field

from workloads.contract import Config, Context, Result

SLOW = Path(os.environ.get("CHATTY_SLOW", "/nonexistent"))  # while there is such a file, every step takes PAUSE
PAUSE = float(os.environ.get("CHATTY_PAUSE", "0.15"))  # seconds


class ChattyConfig(Config):
    """`work` is how many seconds a step computes; with `timed` it reports the seconds inside its calls of log."""

    x: float = 1.0
    steps: int = Field(default=5, ge=0)
    names: int = Field(default=2, ge=1)
    work: float = Field(default=0.0, ge=0)
    timed: bool = False
    from_: str | None = Field(default=None, alias="from")


def run(config: ChattyConfig, context: Context) -> Result:
    """`levelN` falls from `x` by step, starting at what the input ended with."""
    start = config.x + context.seed + sum(item.metrics["last"] for item in context.inputs.values())
    began, inside, last = time.perf_counter(), 0.0, start
    for step in range(1, config.steps + 1):
        time.sleep(PAUSE if SLOW.exists() else config.work)
        last = start / math.sqrt(step)
        before = time.perf_counter()
        context.log(step, **{f"level{name}": last + name for name in range(config.names)})
        inside += time.perf_counter() - before
    before = time.perf_counter()
    context.log_artifact("notes/end.txt", f"ended at {last}\n")
    inside += time.perf_counter() - before
    metrics = {"last": last, "third": last / 3}
    if config.timed:
        metrics |= {"log_seconds": inside, "run_seconds": time.perf_counter() - began}
    return Result(metrics, arrays={"levels": numpy.arange(3) * last})
