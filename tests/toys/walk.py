"""A random walk: a workload with weights, checkpoints, arrays, and a way to compute several together."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence

from pydantic import Field

from workloads.contract import Checkpoint, Config, Context, Ended, Hardware, Job, Result


class WalkConfig(Config):
    """`steps` decide the result, with the seed; `pause` only how long it takes.

    At `fails_at` it raises, at `diverges_at` it ends early.
    """

    steps: int = 3
    pause: float = Field(default=0.0, ge=0)
    fails_at: int | None = None
    diverges_at: int | None = None
    from_: str | None = Field(default=None, alias="from")


def array_key(config: WalkConfig) -> str:
    """All walks of one length go together."""
    return f"{config.steps} steps"


def run(config: WalkConfig, context: Context) -> Result:
    """One walk by itself."""
    walk = Walk(Job(config, context))
    while not walk.finished:
        walk.step()
    return walk.result()


def run_array(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
    """As many side by side as there are slots; slots refill."""
    waiting, slots = deque(jobs), hardware.slots or 2
    under_way: list[Walk] = []
    while waiting or under_way:
        while waiting and len(under_way) < slots:
            under_way.append(Walk(waiting.popleft()))
        for walk in [*under_way]:
            try:
                if not walk.finished:
                    walk.step()
                    continue
                ended: Result | Exception = walk.result()
            except Exception as error:
                ended = error
            under_way.remove(walk)
            yield Ended(walk.job, ended, 0.5, slots)


class Walk:
    """A walk under way."""

    def __init__(self, job: Job) -> None:
        import torch

        self.job, context = job, job.context
        self.start = torch.zeros(3, dtype=torch.float64)
        if context.inputs:
            self.start = context.inputs["input"].weights()["x"]
        kept = context.restore()
        self.x = self.start.clone() if kept is None else kept.tensors["x"]
        self.at = 0 if kept is None else int(kept.numbers["at"])

    @property
    def finished(self) -> bool:
        return self.at >= self.job.config.steps or self.diverged

    @property
    def diverged(self) -> bool:
        return self.at == self.job.config.diverges_at

    def step(self) -> None:
        """x += a standard normal vector."""
        import torch

        config, context = self.job.config, self.job.context
        if self.at == config.fails_at:
            raise RuntimeError(f"fell at step {self.at}")
        time.sleep(config.pause)
        self.x = self.x + torch.randn(3, dtype=torch.float64, generator=context.generator("walk", self.at))
        self.at += 1
        context.log(self.at, norm=self.x.norm().item(), unknown=math.nan)
        context.save(lambda: Checkpoint({"x": self.x}, {"at": self.at, "never": -math.inf}))

    def result(self) -> Result:
        """Where it got to."""
        return Result(
            metrics={"norm": self.x.norm().item(), "worst": math.inf},
            outcome="diverged" if self.diverged else "done",
            weights={"x": self.x},
            start="input" if self.job.context.inputs else {"x": self.start},
            arrays={"end": self.x.numpy()},
        )
