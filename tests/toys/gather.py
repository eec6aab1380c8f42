"""A workload that looks at all that it is given: for stages that gather over an axis, and what they start from."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from workloads.contract import Config, Context, Result


class GatherConfig(Config):
    """`x` decides the result of a stage that starts from nothing."""

    x: float = 0.0
    from_: str | Mapping[str, str] | None = Field(default=None, alias="from")


def run(config: GatherConfig, context: Context) -> Result:
    """value = 10 x + seed, without inputs; else what the inputs come to, and by role what each has."""
    if not context.inputs:
        return Result(metrics={"value": config.x * 10 + context.seed})
    found = {role: item.metrics["value"] for role, item in context.inputs.items()}
    each = {f"of.{role}": value for role, value in found.items()}
    return Result(metrics={"total": sum(found.values()), "count": float(len(found)), **each})
