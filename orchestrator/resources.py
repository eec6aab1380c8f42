"""What a run may use of the machine or cluster."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.errors import SweepError
from orchestrator.frontier import Arrays


@dataclass(frozen=True)
class Resources:
    """What the user lets a run use.

    Args:
        jobs: CPU groups at once; None for as many as the cores carry (one a GPU where there are GPUs).
        gpus: GPUs to use, 0 for none.
        address: A running Ray, or None for an embedded one on this machine.
        inline: Everything in this process, without Ray.
        array: Whether nodes are computed together: auto is on for GPUs and off for CPUs; a number is on, of so many.
    """

    jobs: int | None = None
    gpus: int = 0
    address: str | None = None
    inline: bool = False
    array: Literal["off", "auto"] | int = "auto"

    @property
    def device(self) -> str:
        return "cuda:0" if self.gpus else "cpu"

    @property
    def arrays(self) -> Arrays:
        if self.array == "auto":
            return Arrays(on=self.gpus > 0)
        return Arrays() if self.array == "off" else Arrays(on=True, slots=int(self.array))


@dataclass(frozen=True)
class Packing:
    """How a run is spread over the machine, so that it is neither idle nor oversubscribed.

    Attributes:
        workers: Groups at once.
        threads: CPU threads of each, the most that a node of the run asks for.
        cores: What this process may use of the machine.
        gpus: Of the machine; each worker has an equal part.
    """

    workers: int
    threads: int
    cores: int
    gpus: int
    arrays: Arrays

    @property
    def gpus_per_worker(self) -> float:
        return self.gpus / self.workers

    def __str__(self) -> str:
        arrays = "arrays off" if not self.arrays.on else f"arrays of {self.arrays.slots or 'a measured size'}"
        text = f"{_count(self.workers, 'worker')} x {_count(self.threads, 'thread')} on {_count(self.cores, 'core')}"
        if self.gpus:
            part = "one GPU" if self.gpus == self.workers else f"{self.gpus_per_worker:.2g} of a GPU"
            text += f", {part} each of {self.gpus}"
        if self.workers * self.threads > self.cores:
            text += " (more threads than cores: they will wait for each other)"
        return f"{text}; {arrays}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def pack(resources: Resources, threads: int, nodes: int) -> Packing:
    """The packing of a run whose nodes ask for up to `threads` threads each; never more workers than nodes."""
    cores = usable_cores()
    wanted = resources.jobs or resources.gpus or max(1, cores // threads)
    workers = 1 if resources.inline else max(1, min(wanted, nodes))
    return Packing(workers, threads, cores, min(resources.gpus, workers), resources.arrays)


def usable_cores() -> int:
    """The cores that this process may run on: its affinity, and the share that its container was given."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or `max`: no limit
        return affinity


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
