"""A workload that says where it ran: for tests of what goes to which machine and GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from pydantic import Field

from workloads.contract import Config, Context, Result


class WhereConfig(Config):
    """`sleep` seconds long."""

    x: float = 0.0
    sleep: float = Field(default=0.0, ge=0)
    from_: str | Mapping[str, str] | None = Field(default=None, alias="from")


def run(config: WhereConfig, context: Context) -> Result:
    """The machine as a number, the process, the GPUs that it sees, and when it began and ended."""
    import ray

    machine = int(ray.get_runtime_context().get_node_id()[:12], 16)
    seen = [int(number) for number in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if number]
    began = time.time()
    time.sleep(config.sleep)
    return Result(
        metrics={
            "machine": machine,
            "process": os.getpid(),
            "gpus": len(seen),
            "gpu": seen[0] if seen else -1,
            "began": began,
            "ended": time.time(),
        }
    )
