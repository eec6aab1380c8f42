"""What a run may use of the machine or cluster."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from orchestrator.errors import SweepError


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


def refuse_unreachable(address: str | None) -> None:
    """Ray itself would wait for minutes, and only after the store was written to.

    Raises:
        SweepError: `address` is not `host:port`, or nothing listens there.
    """
    if address in (None, "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise SweepError(f"--address {address}: expected host:port of a running Ray, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise SweepError(f"--address {address}: no Ray answers there ({error.strerror or error})") from error
