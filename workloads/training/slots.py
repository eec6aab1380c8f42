"""Many trainings through a few slots: fill, train an epoch, see who has ended, refill.

All networks of an array make their epochs in step, since they have equally many images; each has its own epoch, rate,
order and end. A slot that comes free takes the next job; when none is left the array shrinks.
"""

from __future__ import annotations

import atexit
import gc
import math
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from workloads.contract import Ended, Hardware, Job
from workloads.training import memory
from workloads.training.array import Array, arrayable
from workloads.training.calibration import LARGEST, choose
from workloads.training.evaluation import Scores
from workloads.training.implementation import fastest
from workloads.training.precision import multiplying
from workloads.training.slot import Slot, begin, happen
from workloads.training.step import Step, Stepper, steps_per_epoch, train_epoch


def run_jobs(jobs: Sequence[Job], hardware: Hardware) -> Iterator[Ended]:
    """Train them all, as many at once as `hardware` says or measurement finds best; yields each as it ends.

    Where memory runs out, what was under way begins again from its checkpoints, half as many at once. After an error
    that cannot be laid at one network's door those under way are tried one by one, so that only the guilty one fails;
    the others go on together, unless none was guilty and it is the array that fails.
    """
    _set_imports_aside()
    torch.set_num_threads(jobs[0].config.threads)
    if torch.device(hardware.device).index is not None:
        torch.cuda.set_device(hardware.device)  # graphs are captured on the device that is the current one
    waiting = deque(jobs)
    limit = len(jobs)
    while waiting:
        line, suspects = Line(waiting, hardware, limit), list[Job]()
        try:
            with multiplying(jobs[0].config.precision):
                yield from line.run()
        except Exception as error:
            if line.size == 1:
                yield from line.give_up(error)
            under_way = [slot.job for slot in line.under_way]
            if memory.is_shortage(error):
                limit = max(1, line.size // 2)
                waiting.extendleft(reversed(under_way))
            else:
                suspects = under_way
        del line
        gc.collect()  # a step and its array refer to each other, and the next array needs their memory
        if suspects and not (yield from _one_by_one(suspects, hardware)):
            limit = 1


@cache
def _set_imports_aside() -> None:
    """Once a process: to search all that is imported, between trainings, took a seventh of the time of small ones."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries count at the end what was not let go, and complain of it


def _one_by_one(jobs: Sequence[Job], hardware: Hardware) -> Generator[Ended, None, bool]:
    """Train each by itself; returns whether one of them failed."""
    failed = False
    for job in jobs:
        for ended in run_jobs([job], hardware):
            failed = failed or isinstance(ended.result, Exception)
            yield ended
    return failed


class Line:
    """One array, and the jobs that wait for its slots."""

    def __init__(self, waiting: deque[Job], hardware: Hardware, limit: int) -> None:
        self.waiting, self.hardware, self.limit = waiting, hardware, limit
        self.slots: list[Slot | None] = []
        self.size = 1
        self._prepared: tuple[tuple[object, ...], Step] | None = None

    @property
    def under_way(self) -> list[Slot]:
        return [slot for slot in self.slots if slot is not None]

    def give_up(self, error: Exception) -> Iterator[Ended]:
        """The only training under way ends with `error`."""
        for slot in self.under_way:
            yield Ended(slot.job, error, slot.seconds, slot.together)
        self.slots = []

    def run(self) -> Iterator[Ended]:
        """Train until no job is left."""
        first = yield from self._next()
        if first is None:
            return
        self.slots = [first]
        drawn = any(job.config.data.drawn for job in (first.job, *self.waiting))
        self.size = self._choose(first, drawn)
        self.array = Array(first.config, first.data, self.size, drawn, self.hardware.device)
        self.slots += [None] * (self.size - 1)
        yield from self._enter(first, 0)
        while self.under_way or self.waiting:
            yield from self._refill()
            if any(slot.finished for slot in self.under_way):
                yield from self._end()
            elif self.under_way:
                self._shrink()
                yield from self._epoch()

    def _choose(self, first: Slot, drawn: bool) -> int:
        """How many networks at once: as many as fit, and as the caller or measurement says."""
        hardware = self.hardware
        together = min(1 + len(self.waiting), self.limit, hardware.slots or self.limit)
        if together == 1 and hardware.memory is None:
            return 1
        free = memory.available(hardware.device) if hardware.memory is None else hardware.memory
        try:
            room = memory.most(first.config, first.data, drawn, free, max(together, 2 * LARGEST))
        except MemoryError:
            if hardware.memory is not None:
                raise
            return 1  # the estimate is on the safe side: where nobody set a limit, one is worth a try
        most = min(room, together)
        return most if hardware.slots else choose(first, most, room, drawn, hardware)

    def _next(self) -> Iterator[Ended]:
        """The next training that can begin (returned), and those before it that cannot (yielded)."""
        while self.waiting:
            job = self.waiting.popleft()
            started = time.perf_counter()
            try:
                return begin(job)
            except Exception as error:
                yield Ended(job, error, time.perf_counter() - started, 1)
        return None

    def _enter(self, slot: Slot, index: int) -> Iterator[Ended]:
        self.slots[index] = slot
        try:
            slot.enter(self.array, index)
        except Exception as error:
            if memory.is_shortage(error):
                raise
            yield self._leave(index, error)

    def _leave(self, index: int, error: Exception) -> Ended:
        slot = self.slots[index]
        assert slot is not None
        self.slots[index] = None
        return Ended(slot.job, error, slot.seconds, slot.together)

    def _refill(self) -> Iterator[Ended]:
        """Give every free slot a job, while there are any."""
        for index in range(self.size):
            while self.slots[index] is None and self.waiting:
                slot = yield from self._next()
                if slot is not None:
                    yield from self._enter(slot, index)
        for slot in self.under_way:
            slot.together = max(slot.together, len(self.under_way))

    def _shrink(self) -> None:
        """Let go of empty slots; on a GPU only once half are empty, since the steps are prepared anew."""
        left = [index for index, slot in enumerate(self.slots) if slot is not None]
        enough = self.size // 2 if self.hardware.device.startswith("cuda") else self.size - 1
        if len(left) <= enough:
            self.array = self.array.take(left)
            self.slots = [self.slots[index] for index in left]
            self.size = len(left)

    def _epoch(self) -> Iterator[Ended]:
        """One epoch of all networks, and what follows from it."""
        started = time.perf_counter()
        step = self._steps()
        rates = [0.0 if slot is None else slot.rate for slot in self.slots]
        self.array.rates.copy_(torch.tensor(rates, dtype=torch.float64)[:, None])
        losses = train_epoch(self.array, step, *self._orders())
        rows: dict[int, dict[str, float]] = {}
        for index, slot in self._numbered():
            slot.epoch, slot.scores = slot.epoch + 1, None
            slot.diverged = not math.isfinite(losses[index])
            rows[index] = {"train_loss": losses[index], "learning_rate": rates[index]}
        yield from self._events(rows)
        looking = [index for index, slot in self._numbered() if slot.looks and not slot.diverged]
        for index, scores in self._evaluate(looking).items():
            rows[index].update(self._at(index).look(scores))
        share = (time.perf_counter() - started) / max(1, len(self.under_way))
        yield from self._log(rows, share)

    def _steps(self) -> Step:
        """The step as it was prepared; anew where the array, its images or the kinds of numbers in it are others."""
        values = [arrayable(slot.config) for slot in self.under_way]
        used = frozenset(name for numbers in values for name, value in numbers.items() if value)
        what = self.array, self.array.pool, used
        if self._prepared is None or self._prepared[0] != what:
            self._prepared = None  # its memory first
            epochs = max(slot.config.stop.epochs - slot.epoch for slot in self.under_way)
            epochs += sum(job.config.stop.epochs for job in self.waiting) // self.size
            self._prepared = what, fastest(Stepper(self.array, used), epochs * steps_per_epoch(self.array))
        return self._prepared[1]

    def _orders(self) -> tuple[Tensor, Tensor | None]:
        """Each network's order (S, N) and augmentation (S, N, 3) on the device; an empty slot has its neighbour's."""
        orders, draws = [], []
        augments = self.array.augments
        filled = self.under_way[0]
        for slot in (slot or filled for slot in self.slots):
            orders.append(slot.order())
            draws += [slot.draws(orders[-1])] if augments else []
        device = self.hardware.device
        return torch.stack(orders).to(device), torch.stack(draws).to(device) if augments else None

    def _numbered(self) -> list[tuple[int, Slot]]:
        return [(index, slot) for index, slot in enumerate(self.slots) if slot is not None]

    def _at(self, index: int) -> Slot:
        slot = self.slots[index]
        assert slot is not None
        return slot

    def _events(self, rows: dict[int, dict[str, float]]) -> Iterator[Ended]:
        for index, slot in self._numbered():
            try:
                if not slot.diverged:
                    rows[index].update(happen(slot, self.array, index))
            except Exception as error:
                if memory.is_shortage(error):
                    raise
                yield self._leave(index, error)

    def _log(self, rows: dict[int, dict[str, float]], seconds: float) -> Iterator[Ended]:
        for index, slot in self._numbered():
            slot.seconds += seconds
            try:
                slot.context.log(slot.epoch, **rows[index])
                if not slot.finished:
                    slot.context.save(lambda slot=slot, index=index: slot.checkpoint(self.array, index))
            except Exception as error:
                yield self._leave(index, error)

    def _evaluate(self, indices: list[int]) -> dict[int, Scores]:
        """What the networks of these slots do now, by slot."""
        if not indices:
            return {}
        array = self.array if len(indices) == self.size else self.array.take(indices)
        return dict(zip(indices, array.evaluate(), strict=True))

    def _end(self) -> Iterator[Ended]:
        """Hand over the trainings that have ended; their slots are free."""
        finished = [(index, slot) for index, slot in self._numbered() if slot.finished]
        started = time.perf_counter()
        scores = self._evaluate([index for index, slot in finished if slot.scores is None])
        share = (time.perf_counter() - started) / len(finished)
        for index, slot in finished:
            result = slot.result(self.array, index, slot.scores or scores[index])
            self.slots[index] = None
            yield Ended(slot.job, result, slot.seconds + share, slot.together)
