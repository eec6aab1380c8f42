"""A workload that misbehaves as it is told, and writes down each time it is run: for tests of what goes wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from workloads.contract import Checkpoint, Config, Context, Result

LOG = "SWEEP_TEST_LOG"  # names a file that gets a line for each run: seed, pid, what it found


class TroubleConfig(Config):
    """`steps` of `pause` seconds, with a chance to be checkpointed after each; the trouble comes at step 1.

    hang: it sleeps for ever; spin: it holds the interpreter for ever; hog: it takes memory until something ends it;
    exit: the process ends; memory: a MemoryError of its own; error: an error of its own.
    """

    x: float = 0.0
    steps: int = Field(default=3, ge=1)
    pause: float = Field(default=0.0, ge=0)
    trouble: Literal["none", "hang", "spin", "hog", "exit", "memory", "error"] = "none"
    times: int = Field(default=1000, description="How many runs have the trouble; the log counts.")
    kilobytes: int = Field(default=0, ge=0, description="Of the weights that it leaves.")
    from_: str | Mapping[str, str] | None = Field(default=None, alias="from")


def run(config: TroubleConfig, context: Context) -> Result:
    """value = 10 x + seed + the values of the inputs + the sum of the first weights of the inputs."""
    import torch

    runs = _note(config, context.seed)
    value = config.x * 10 + context.seed
    value += sum(item.metrics["value"] for item in context.inputs.values())
    kept = context.restore()
    for step in range(0 if kept is None else int(kept.numbers["step"]), config.steps):
        if step == 1 and runs <= config.times:
            _misbehave(config.trouble)
        time.sleep(config.pause)
        context.log(step + 1, value=value + step)
        context.save(lambda step=step: Checkpoint({"w": torch.ones(2)}, {"step": step + 1}))
    generator = context.generator("weights")
    size = 256 * config.kilobytes
    weights: dict[str, Any] = {"w": torch.rand(size, generator=generator)} if size else {}
    for item in context.inputs.values() if size else ():
        weights["w"] = weights["w"] + item.weights()["w"]
    return Result({"value": value}, weights=weights or None, start={"w": torch.zeros(1)} if size else None)


def _note(config: TroubleConfig, seed: int) -> int:
    """How often this was run, this time among them."""
    if LOG not in os.environ:
        return 1
    line = f"{config.x:g} {seed}"
    with open(os.environ[LOG], "a") as file:  # short lines are appended whole
        file.write(f"{line} {os.getpid()}\n")
    return sum(text.startswith(f"{line} ") for text in Path(os.environ[LOG]).read_text().splitlines())


def _misbehave(how: str) -> None:
    match how:
        case "hang":
            time.sleep(1e6)
        case "spin":
            while True:
                sum(range(10**9))  # one call into C: no other thread of this process runs meanwhile
        case "hog":
            taken = []
            while True:
                taken.append(b"x" * 2**25)
                time.sleep(0.02)
        case "exit":
            os._exit(7)
        case "memory":
            raise MemoryError("cannot allocate 1 TB")
        case "error":
            raise RuntimeError("this never works")
