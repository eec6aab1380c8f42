"""What a run may use of the machine or cluster."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.errors import SweepError
from orchestrator.frontier import Arrays
from workloads.control_groups import OWN, ROOT, control_groups


@dataclass(frozen=True)
class Resources:
    """What the user lets a run use.

    Args:
        jobs: CPU groups at once; None for as many as the cores carry (one a GPU where there are GPUs).
        cores: Those of each node of the Ray at `address`; none where it is of this machine, or where Ray has none yet.
        gpus: GPUs to use, 0 for none.
        address: A running Ray, or None for an embedded one on this machine.
        inline: Everything in this process, without Ray.
        array: Whether nodes are computed together: auto is on for GPUs and off for CPUs; a number is on, of so many.
        debug: A debugger where a node fails; only inline.
        labels: What the machines of the Ray at `address` must be labelled with to be used.
    """

    jobs: int | None = None
    gpus: int = 0
    address: str | None = None
    inline: bool = False
    array: Literal["off", "auto"] | int = "auto"
    debug: bool = False
    cores: tuple[float, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

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
        cores: What the run may use of the machine, or of all machines.
        gpus: Of the machine; each worker has an equal part of one.
    """

    workers: int
    threads: int
    cores: int
    gpus: int
    arrays: Arrays

    @property
    def workers_per_gpu(self) -> int:
        """On the fullest one; 0 without GPUs."""
        return math.ceil(self.workers / self.gpus) if self.gpus else 0

    @property
    def gpus_per_worker(self) -> float:
        """A part that fits so often into one GPU: Ray counts in steps of 1e-4, and a worker never has parts of two."""
        return math.floor(1e4 / self.workers_per_gpu) / 1e4 if self.gpus else 0.0

    def __str__(self) -> str:
        arrays = "arrays off" if not self.arrays.on else f"arrays of {self.arrays.slots or 'a measured size'}"
        text = f"{_count(self.workers, 'worker')} x {_count(self.threads, 'thread')} on {_count(self.cores, 'core')}"
        if self.gpus:
            part = "one GPU" if self.workers_per_gpu == 1 else f"1/{self.workers_per_gpu} of a GPU"
            text += f", {part} each of {self.gpus}"
        if self.workers * self.threads > self.cores:
            text += " (more threads than cores: they will wait for each other)"
        return f"{text}; {arrays}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def pack(resources: Resources, threads: int, nodes: int) -> Packing:
    """The packing of a run whose nodes ask for up to `threads` threads each; never more workers than nodes."""
    nodes_cores = resources.cores or (usable_cores(),)
    cores = math.floor(sum(nodes_cores))
    wanted = resources.jobs or resources.gpus or sum(int(own // threads) for own in nodes_cores)  # none straddles nodes
    workers = 1 if resources.inline else max(1, min(wanted, nodes))
    return Packing(workers, threads, cores, min(resources.gpus, workers), resources.arrays)


def label(text: str) -> tuple[str, str]:
    """`LABEL=VALUE` as `--on` says it.

    Raises:
        SweepError: it is none, or not of the letters that Ray's labels have.

    Example:
        >>> label("ray.io/accelerator-type=H200")
        ('ray.io/accelerator-type', 'H200')
    """
    found = re.fullmatch(r"([\w./-]{1,126})=([A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)", text, re.ASCII)
    if found is None:
        raise SweepError(f"--on {text}: expected LABEL=VALUE, of letters, digits and . _ - as Ray's labels are")
    return found[1], found[2]


def usable_cores() -> int:
    """The cores that this process may run on: its affinity, and the shares that its control groups were given."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([affinity, *cgroup_limits()])))


def cgroup_limits(own: Path = OWN, root: Path = ROOT) -> Iterator[float]:
    """The limits, in cores, of the control groups that this process is in."""
    for group in control_groups("cpu", own, root):
        yield from _cgroup_limit(group.folder)


def _cgroup_limit(folder: Path) -> Iterator[float]:
    """`QUOTA PERIOD` in version 2, two files in version 1; no limit is the word max, or -1."""
    files = (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"])
    for names in files:
        with suppress(OSError, ValueError):
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if int(quota) > 0 and int(period) > 0:
                yield int(quota) / int(period)


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
