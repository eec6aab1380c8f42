"""A workload whose only metric can be worked out by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pydantic import Field

from workloads.contract import Config, Context, Result


class NoopConfig(Config):
    """`x` decides the result; `sleep` seconds only how long it takes."""

    x: float = 0.0
    note: str = ""
    sleep: float = Field(default=0.0, ge=0)
    from_: str | Mapping[str, str] | None = Field(default=None, alias="from")


def run(config: NoopConfig, context: Context) -> Result:
    """value = 10 x + seed + the values of the inputs."""
    time.sleep(config.sleep)
    below = sum(item.metrics["value"] for item in context.inputs.values())
    return Result(metrics={"value": config.x * 10 + context.seed + below})
