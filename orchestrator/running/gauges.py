"""How busy the machine of a long node is: processor, memory and, where the node has one, its GPU.

A thread takes a sample every ten seconds; a node that has run for half a minute gets all since it began.
They are handed over where the node logs or ends, in its own thread. Names are those that MLflow's UI groups.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.running.events import NodeSampled

SECONDS = float(os.environ.get("SWEEP_SAMPLE_SECONDS", "10"))  # between samples
LONG = 3 * SECONDS  # a node that ended before has none
MEGABYTE = 2**20


@dataclass
class Gauges:
    """Samples for the nodes between `begin` and `end`. Use as a context manager around a group.

    Args:
        device: As torch names it.
        publish: Is told the samples, by the thread that calls `deliver` or `end`.
    """

    device: str
    publish: Callable[[NodeSampled], None]
    _began: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, list[NodeSampled]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Gauges:
        self._ended.clear()
        threading.Thread(target=self._sample, args=(self._ended,), daemon=True, name="gauges").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._ended = threading.Event()

    def begin(self, key: str) -> None:
        with self._lock:
            self._began[key] = time.time()

    def deliver(self) -> None:
        """Publish the samples of the nodes that have run for long."""
        if not self._waiting:
            return
        with self._lock:
            now = time.time()
            long = [key for key in self._waiting if now - self._began.get(key, now) >= LONG]
            samples = [sample for key in long for sample in self._waiting.pop(key)]
        for sample in samples:
            self.publish(sample)

    def end(self, key: str) -> None:
        """The node has ended: what is left of its samples."""
        self.deliver()
        with self._lock:
            self._began.pop(key, None)
            self._waiting.pop(key, None)

    def _sample(self, ended: threading.Event) -> None:
        machine: _Machine | None = None
        while not ended.wait(SECONDS):
            machine = machine or _Machine(self.device)
            values, now = machine.values(), time.time()
            with self._lock:
                for key, began in self._began.items():
                    self._waiting.setdefault(key, []).append(NodeSampled(key, round(now - began), values, now))


class _Machine:
    """This machine and one of its GPUs, if that is the device."""

    def __init__(self, device: str) -> None:
        import psutil  # only where something runs for long

        self._psutil, self._process = psutil, psutil.Process()
        psutil.cpu_percent()  # the first answer is since the last call
        self._gpu = None
        if device.startswith("cuda"):
            with suppress(OSError, AttributeError, ValueError):
                self._gpu = _Nvml(int(device.partition(":")[2] or 0))

    def values(self) -> dict[str, float]:
        memory = self._psutil.virtual_memory()
        found = {
            "cpu_utilization_percentage": self._psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_megabytes": self._process.memory_info().rss / MEGABYTE,
        }
        return found | (self._gpu.values() if self._gpu else {})


class _Pair(ctypes.Structure):
    """Of utilizations in percent: of the GPU, of its memory."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Nvml:
    """NVIDIA's library of gauges, which comes with the driver; no Python package is needed.

    Raises:
        OSError: there is none here, or it does not know the GPU.
    """

    def __init__(self, index: int) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._handle = ctypes.c_void_p()
        self._check(self._library.nvmlInit_v2())
        named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        name = named[index] if index < len(named) else str(index)
        self._index = index
        if name.isdigit():
            self._check(self._library.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(self._handle)))
        else:
            self._check(self._library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(self._handle)))

    def _check(self, code: int) -> None:
        if code:
            raise OSError(f"NVML answers {code}")

    def values(self) -> dict[str, float]:
        """What the GPU tells; one that is a part of another (MIG) does not know how busy it is."""
        found: dict[str, float] = {}
        busy, memory, power = _Pair(), _Memory(), ctypes.c_uint()
        prefix = f"gpu_{self._index}_"
        if not self._library.nvmlDeviceGetUtilizationRates(self._handle, ctypes.byref(busy)):
            found[f"{prefix}utilization_percentage"] = float(busy.gpu)
        if not self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)):
            found[f"{prefix}memory_usage_megabytes"] = memory.used / MEGABYTE
            found[f"{prefix}memory_usage_percentage"] = 100 * memory.used / memory.total
        if not self._library.nvmlDeviceGetPowerUsage(self._handle, ctypes.byref(power)):
            found[f"{prefix}power_usage_watts"] = power.value / 1000
        return found
