"""What a run may use of the machine or cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    Args:
        jobs: CPU groups at once; None for one a core (one a GPU where there are GPUs).
        gpus: GPUs to use, 0 for none.
        address: A running Ray, or None for an embedded one on this machine.
        inline: Everything in this process, without Ray.
    """

    jobs: int | None = None
    gpus: int = 0
    address: str | None = None
    inline: bool = False

    @property
    def slots(self) -> int:
        if self.inline:
            return 1
        return self.jobs or self.gpus or os.cpu_count() or 1

    @property
    def gpus_per_slot(self) -> float:
        return self.gpus / self.slots if self.gpus else 0

    @property
    def device(self) -> str:
        return "cuda:0" if self.gpus else "cpu"
