"""A step on a GPU: eager or as a CUDA graph, images innermost or channels innermost, compiled or not; by measurement.

A graph replays the kernels of a step without the host's part in it, which is most of the time of a small network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from workloads.training.array import Array
from workloads.training.step import Step, Stepper, batch_size

WARM = 3  # steps before a capture: libraries choose their kernels and allocate in them
TIMED = 10
COMPILING_PAYS = 600.0  # seconds of training from which on a minute of compilation is worth a try


def fastest_on_gpu(stepper: Stepper, steps: int) -> Step:
    """The quickest of the ways to run `stepper` on its GPU, for about so many steps; its state is left as it was.

    A way that fails, for want of memory, of a kernel for its layout or of a compiler, is not taken; where all fail,
    what the plain step raises is raised.
    """
    array = stepper.array
    best, seconds = _best_layout(stepper)
    if seconds * steps > COMPILING_PAYS:
        compiled = Graphs(stepper.compiled())
        if _if_it_works(array, compiled) < seconds:
            return compiled
    return best


def _best_layout(stepper: Stepper) -> tuple[Step, float]:
    """The quickest, and its seconds a step. What was captured to be timed is let go: it holds memory of its own."""
    array, found = stepper.array, []
    for channels_last in (True, False) if array.network.has_layouts else (True,):
        array.network.arrange(channels_last)
        found.append((_if_it_works(array, stepper), channels_last, False))
        found.append((_if_it_works(array, Graphs(stepper)), channels_last, True))
    seconds, channels_last, graph = min(found)
    array.network.arrange(channels_last)
    if math.isinf(seconds):
        seconds = _seconds(array, stepper)
    return Graphs(stepper) if graph else stepper, seconds


def _if_it_works(array: Array, step: Step) -> float:
    try:
        return _seconds(array, step)
    except Exception:
        return math.inf


def _seconds(array: Array, step: Step) -> float:
    """Of one step on a full batch, by a way that can make the step of an epoch's last, smaller one too."""
    batch = batch_size(array)
    last = array.pool.count % batch
    rows = torch.arange(batch, device=array.device).repeat(array.size, 1)
    draws = None
    if array.augments:
        draws = torch.zeros(array.size, batch, 3, dtype=torch.int64, device=array.device)
    with preserved(array):
        step(rows, draws)
        if last:
            step(rows[:, :last], None if draws is None else draws[:, :last])
        torch.cuda.synchronize(array.device)
        started = time.perf_counter()
        for _ in range(TIMED):
            step(rows, draws)
        torch.cuda.synchronize(array.device)
        return (time.perf_counter() - started) / TIMED


@contextmanager
def preserved(array: Array) -> Iterator[None]:
    """What steps change is put back afterwards."""
    weights = array.network.weights
    changed = [weights, array.network.steps, *array.network.buffers.values(), *array.state.values()]
    kept = [item.clone() for item in changed]
    try:
        yield
    finally:
        for item, before in zip(changed, kept, strict=True):
            item.copy_(before)


class Graphs:
    """The step as CUDA graphs, one for each number of images a batch has: the usual one, and the last one's."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._graphs: dict[int, _Graph] = {}

    def __call__(self, rows: Tensor, draws: Tensor | None) -> Tensor:
        count = rows.shape[1]
        if count not in self._graphs:
            self._graphs[count] = _Graph(self._stepper, rows, draws)
        return self._graphs[count].replay(rows, draws)


class _Graph:
    def __init__(self, stepper: Stepper, rows: Tensor, draws: Tensor | None) -> None:
        self._rows, self._draws = rows.clone(), None if draws is None else draws.clone()
        stream = torch.cuda.Stream(stepper.array.device)
        with preserved(stepper.array):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM):
                    stepper(self._rows, self._draws)
            torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._losses = stepper(self._rows, self._draws)

    def replay(self, rows: Tensor, draws: Tensor | None) -> Tensor:
        self._rows.copy_(rows)
        if self._draws is not None and draws is not None:
            self._draws.copy_(draws)
        self._graph.replay()
        return self._losses
