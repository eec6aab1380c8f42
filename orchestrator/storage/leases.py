"""Leases: who computes a node now, so that two drivers on one store do not compute one twice.

A lease is a hard link, made exclusively, to the file that describes its driver: it never exists half-written. It is
advice: the store is the truth, and two equal nodes are equal. A driver's lease is void at once when its process is gone
(same host: pid, boot and start time), elsewhere when its heartbeat has not changed for three beats of the observer's
own monotonic clock.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.store import Store, write_atomically

BEAT = 10.0  # seconds between heartbeats
LOOK = 1.0  # seconds between looks for a request to stop


@dataclass(frozen=True)
class Driver:
    """A process that runs a sweep, named by its records."""

    name: str
    host: str
    pid: int
    boot: str
    started: str
    sweep: str = ""

    @classmethod
    def this(cls, sweep: str = "") -> Driver:
        pid = os.getpid()
        return cls(uuid.uuid4().hex[:12], socket.gethostname(), pid, _boot(), _start_time(pid), sweep)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def here(self) -> bool:
        return self.host == socket.gethostname()

    def alive_here(self) -> bool:
        return self.boot == _boot() and self.started == _start_time(self.pid) != ""


def _boot() -> str:
    """Which start of this host's kernel this is."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """When the process started; "" if there is none. A pid alone may have been given to another."""
    with contextlib.suppress(OSError, IndexError):  # in ticks since the boot: the clock may be set meanwhile
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    if Path("/proc/self/stat").exists():
        return ""
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""


@dataclass
class Leases:
    """The leases of one driver in one store; `with` keeps its heart beating and gives all back.

    Args:
        stop: Called, once and from a thread of its own, when somebody asks the driver to stop; with who asked.
    """

    store: Store
    driver: Driver = field(default_factory=Driver.this)
    stop: Callable[[str], None] | None = None
    held: set[str] = field(default_factory=set)
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Leases:
        for folder in (self._folder, self._hearts):
            folder.mkdir(parents=True, exist_ok=True)
        self._bury()
        write_atomically(self._identity, json.dumps(asdict(self.driver)))
        self._beat(0)
        threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for key in [*self.held]:
            self.release(key)
        self._remove(self.driver.name)

    def claim(self, key: str) -> bool:
        """Whether the node is ours to compute now; False while another living driver has it."""
        path = self._lease(key)
        if self._create(path):
            self.held.add(key)
            return True
        holder = self._holder(path)
        if holder is not None and holder.name != self.driver.name and self._lives(holder):
            return False
        if self._void(path, holder) and self._create(path):
            self.held.add(key)
            return True
        return False

    def release(self, key: str) -> None:
        """Give a node back, if it is still ours."""
        if key in self.held and self._holder(self._lease(key)) == self.driver:
            self._lease(key).unlink(missing_ok=True)
        self.held.discard(key)

    def holder(self, key: str) -> Driver | None:
        """The driver that computes a node now, as far as can be told; None if none does."""
        found = self._holder(self._lease(key))
        return found if found is not None and self._lives(found) else None

    def drivers(self) -> list[Driver]:
        """The drivers that run now. One on another host lives until it has missed three beats under our eyes."""
        found = [self._holder(path) for path in self._hearts.glob("*.json")]
        return [driver for driver in found if driver is not None and self._lives(driver)]

    def ask_to_stop(self, driver: Driver) -> None:
        """Ask a driver, wherever it runs, to stop in good order; it looks every second."""
        write_atomically(self._request(driver.name), f"{getpass.getuser()} on {socket.gethostname()}")

    def silent(self, driver: Driver) -> float:
        """Seconds since the last heartbeat of a driver, as far as the clocks of two machines agree."""
        with contextlib.suppress(OSError):
            return max(0.0, time.time() - self._heart(driver.name).stat().st_mtime)
        return 0.0

    def _void(self, path: Path, holder: Driver | None) -> bool:
        """Take away the lease that was `holder`'s; not one that another driver has made in its place meanwhile."""
        aside = path.with_name(f".void-{uuid.uuid4().hex}")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        ours = self._holder(aside) == holder
        if not ours:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)
        return ours

    def _bury(self) -> None:
        """Remove what killed drivers of this host left; their leases say themselves whose they were."""
        for path in self._hearts.glob("*.json"):
            driver = self._holder(path)
            if driver is not None and driver.here() and not driver.alive_here():
                self._remove(driver.name)

    def _remove(self, driver: str) -> None:
        for path in (self._heart(driver), self._request(driver), self._hearts / f"{driver}.json"):
            path.unlink(missing_ok=True)

    @property
    def _folder(self) -> Path:
        return self.store.root / "work" / "leases"

    @property
    def _hearts(self) -> Path:
        return self.store.root / "work" / "drivers"

    def _lease(self, key: str) -> Path:
        return self._folder / key

    @property
    def _identity(self) -> Path:
        return self._hearts / f"{self.driver.name}.json"

    def _heart(self, driver: str) -> Path:
        return self._hearts / f"{driver}.beat"

    def _request(self, driver: str) -> Path:
        return self._hearts / f"{driver}.stop"

    def _create(self, path: Path) -> bool:
        try:
            os.link(self._identity, path)
        except FileExistsError:
            return False
        return True

    def _holder(self, path: Path) -> Driver | None:
        """None where the lease is damaged, or was given back just now."""
        try:
            return Driver(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _lives(self, holder: Driver) -> bool:
        if holder.here():
            return holder.alive_here()
        try:
            beat = int(self._heart(holder.name).read_text())
        except (OSError, ValueError):
            beat = -1
        known, since = self._seen.get(holder.name, (None, 0.0))
        if beat != known:
            self._seen[holder.name] = (beat, time.monotonic())
            return True
        return time.monotonic() - since < 3 * BEAT

    def _beat(self, count: int) -> None:
        write_atomically(self._heart(self.driver.name), str(count))

    def _keep_beating(self) -> None:
        count, due, asked = 0, time.monotonic() + BEAT, False
        while not self._stop.wait(min(LOOK, BEAT)):
            # A full disk must not end the heart: the next beat may succeed.
            with contextlib.suppress(OSError):
                if time.monotonic() >= due:
                    count, due = count + 1, time.monotonic() + BEAT
                    self._beat(count)
                if self.stop is not None and not asked and self._request(self.driver.name).exists():
                    asked = True
                    self.stop(self._request(self.driver.name).read_text())
