"""How many networks to train at once: measured on a few steps, once for each kind of array and device.

More networks share a step's overhead, until the arithmetic fills the device; from there on larger arrays only press on
its caches, and grouped convolutions may cost more than single ones. Where that turns cannot be told beforehand.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workloads.training import memory
from workloads.training.array import Array, arrayable
from workloads.training.implementation import fastest
from workloads.training.step import Step, Stepper, batch_size

if TYPE_CHECKING:
    from workloads.contract import Hardware
    from workloads.training.slot import Slot

LARGEST = 64
SECONDS = 0.1  # a measurement
SLOW = 0.5  # seconds of a step beyond which its overhead is nothing, and larger arrays are not tried
FALLING = 0.7  # of the best rate: below it, larger arrays are not tried
FINALISTS, ROUNDS = 3, 3
RISING = 1.3  # times the rate of half as many: from there on a few more cost next to nothing
MORE = 1.1  # times the memory that was free where a size did not run: with more than that it is tried again


def choose(first: Slot, most: int, room: int, drawn: bool, hardware: Hardware) -> int:
    """The size, up to `most`, whose networks make the most steps a second, all together; memory has room for `room`.

    What was measured before for this kind of array stands in `hardware.measured`, steps a second by size; for a size
    that did not run, less the bytes that were free then.
    """
    label = kind_of_array(first, hardware.device)
    free = memory.available(hardware.device) if hardware.memory is None else hardware.memory
    rates = _known(hardware.measured.get(label, {}), free)
    sizes = [2**power for power in range(most.bit_length()) if 2**power <= min(most, LARGEST)]
    if not rates.keys() >= set(sizes) and _unfinished(rates, sizes):
        rates |= measure(lambda size: steps(first, size, drawn, hardware.device), sizes, room)
        gc.collect()  # a step and its array may refer to each other, and the array to come needs their memory
        hardware.measured[label] = {str(size): rate or -float(free) for size, rate in sorted(rates.items())}
    known = [size for size in sizes if size in rates]
    best = max(known, key=lambda size: rates[size])
    return most if most <= LARGEST and best == sizes[-1] and _rises(rates, best) else best


def _rises(rates: Mapping[int, float], size: int) -> bool:
    """Whether an array of a few networks more than `size`, fewer than twice as many, takes hardly longer.

    Five seeds then go together, and not four of them and the fifth by itself afterwards.
    """
    return rates[size] >= RISING * rates.get(size // 2, rates[size]) and rates.get(2 * size, rates[size]) >= rates[size]


def _known(kept: Mapping[str, float], free: int) -> dict[int, float]:
    """The rates by size; 0 for a size that did not run, as long as no more memory is free than there was."""
    return {int(size): max(rate, 0.0) for size, rate in kept.items() if rate > 0 or free <= -rate * MORE}


def _unfinished(rates: Mapping[int, float], sizes: list[int]) -> bool:
    """Whether there are larger sizes to try than those measured, and the last measured one was not falling."""
    return not rates or (max(sizes) > max(rates) and rates[max(rates)] >= FALLING * max(rates.values()))


def kind_of_array(first: Slot, device: str) -> str:
    """What the rates depend on: architecture, image, batch, precision, augmentation, threads, device, torch."""
    config = first.config
    assert config.model is not None
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    said = {
        "model": config.model.model_dump(mode="json"),
        "image": first.data.shape,
        "batch": config.batch_size,
        "images": len(first.data.train_y) if config.batch_size == "full" else None,
        "precision": config.precision,
        "augment": config.data.augment,
        "optimizer": config.optimizer.name,
        "adversary": None if config.adversary is None else config.adversary.model_dump(mode="json"),
        "threads": config.threads,
        "device": name,
        "torch": torch.__version__,
    }
    return json.dumps(said, sort_keys=True)


class Bench:
    """Arrays side by side, as many as memory has room for; the others are prepared anew when their turn comes."""

    def __init__(self, prepare: Callable[[int], Callable[[], None]], room: int) -> None:
        self.prepare, self.room = prepare, room
        self.steps: dict[int, Callable[[], None]] = {}

    def rate(self, size: int) -> float:
        """Network-steps a second of an array of so many."""
        if size not in self.steps:
            while self.steps and size + sum(self.steps) > self.room:
                del self.steps[max(self.steps)]
            gc.collect()  # what is let go may be in a ring of references
            self.steps[size] = self.prepare(size)
        return size / _seconds(self.steps[size])

    def keep(self, sizes: Collection[int]) -> None:
        """Let go of all others."""
        self.steps = {size: step for size, step in self.steps.items() if size in sizes}


def measure(prepare: Callable[[int], Callable[[], None]], sizes: list[int], room: int) -> dict[int, float]:
    """Network-steps a second by size: all sizes once, as far as memory goes, then the best few in turn; medians.

    A size that fails, for want of memory or of a kernel, has the rate 0; where none is left, its error is raised.

    Args:
        room: How many networks, in arrays of any size, there may be at the same time.
    """
    bench, finalists = Bench(prepare, room), []
    found: dict[int, list[float]] = {}
    for size in sizes:
        try:
            found[size] = [bench.rate(size)]
        except Exception:
            if not found:
                raise
            bench.keep(finalists)
            found[size] = [0.0]
            break
        finalists = sorted(found, key=lambda size: found[size][0])[-FINALISTS:]
        bench.keep(finalists)
        if size / found[size][0] > SLOW or found[size][0] < FALLING * found[finalists[-1]][0]:
            break
    for _ in range(ROUNDS if len(finalists) > 1 else 0):
        for size in [*finalists]:
            try:
                found[size].append(bench.rate(size))
            except Exception:
                finalists.remove(size)
                if not finalists:
                    raise
                bench.keep(finalists)
                found[size] = [0.0]
    return {size: statistics.median(rates) for size, rates in found.items()}


def _seconds(step: Callable[[], None]) -> float:
    """Of one step: the mean over as many as fit into a measurement, after one to warm up."""
    step()
    count, started = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - started < SECONDS:
        step()
        count += 1
    return (time.perf_counter() - started) / count


def steps(first: Slot, size: int, drawn: bool, device: str) -> Callable[[], None]:
    """A step of an array of copies of the first network, on a batch of its own."""
    array = Array(first.config, first.data, size, drawn, device)
    for slot in range(size):
        array.fill(slot, first.config, slot, first.data, first.start)
    used = frozenset(name for name, value in arrayable(first.config).items() if value)
    step: Step = fastest(Stepper(array, used), steps=0)
    rows = torch.arange(batch_size(array), device=device).repeat(size, 1)
    draws: Tensor | None = None
    if array.augments:
        draws = torch.zeros(size, rows.shape[1], 3, dtype=torch.int64, device=device)

    def run() -> None:
        step(rows, draws)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    return run
