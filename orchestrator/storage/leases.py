"""Leases: who computes a node now, so that two drivers on one store do not compute one twice.

A lease is a copy of the note that describes its driver, which only one of many can make. It is advice: the store is the
truth, and two equal nodes are equal. A driver's lease is void at once when its process is gone
(same machine: pid, boot and start time), elsewhere when its heartbeat has not changed for three beats of the observer's
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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.storage.board import Board, Note
from orchestrator.store import Store

FOLDER, HEARTS = "leases", "drivers"  # of the store's board
BEAT = 10.0  # seconds between heartbeats
LOOK = 1.0  # seconds between looks for a request to stop


@dataclass(frozen=True)
class Driver:
    """A process that runs a sweep, named by its records.

    Attributes:
        machine: Where its pid means something; hosts may share a name, and containers a machine.
    """

    name: str
    host: str
    pid: int
    boot: str
    started: str
    sweep: str = ""
    machine: str = ""

    @classmethod
    def this(cls, sweep: str = "") -> Driver:
        pid = os.getpid()
        return cls(uuid.uuid4().hex[:12], socket.gethostname(), pid, _boot(), _start_time(pid), sweep, _machine())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def here(self) -> bool:
        return (self.host, self.machine) == (socket.gethostname(), _machine())

    def alive_here(self) -> bool:
        return self.boot == _boot() and self.started == _start_time(self.pid) != ""


def user_here() -> str:
    """Who asks for something, in words; a container may have a user without a name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # by version of Python
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def _machine() -> str:
    """This machine, whichever its name and start, and the processes of it that are seen from here."""
    found = []
    with contextlib.suppress(OSError):
        found.append(Path("/etc/machine-id").read_text().strip())
    with contextlib.suppress(OSError):
        found.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(found)


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
        self._board.prepare()
        self._bury()
        self._board.write(_identity(self.driver.name), self._note)
        self._beat(0)
        threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):  # what ended the run counts; our leases are void soon
            for key in [*self.held]:
                self.release(key)
            self._board.settle()
            self._remove(self.driver.name)

    def claim(self, key: str) -> bool:
        """Whether the node is ours to compute now; False while another living driver has it."""
        won = self._board.claim(_lease(key), _identity(self.driver.name)) or self._take_over(key)
        if won:
            self.held.add(key)
        return won

    def claim_all(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that are ours to compute now."""
        return self._board.each(self.claim, keys)

    def _take_over(self, key: str) -> bool:
        """Claim what is another's who does not live any more, or was given back just now."""
        found = self._board.read(_lease(key))
        holder = _driver(found)
        if holder is not None and holder.name != self.driver.name and self._lives(holder):
            return False
        return self._board.claim(_lease(key), _identity(self.driver.name), found)

    def release(self, key: str) -> None:
        """Give a node back, if it is still ours."""
        if key in self.held:
            self._board.give_back(_lease(key), self._note)
        self.held.discard(key)

    def leased(self) -> set[str]:
        """The nodes that somebody has leased, living or not."""
        return set(self._board.names(FOLDER))

    def holder(self, key: str) -> Driver | None:
        """The driver that computes a node now, as far as can be told; None if none does."""
        found = _driver(self._board.read(_lease(key)))
        return found if found is not None and self._lives(found) else None

    def drivers(self) -> list[Driver]:
        """The drivers that run now. One on another host lives until it has missed three beats under our eyes."""
        return [driver for driver in self._known() if self._lives(driver)]

    def alone(self) -> bool:
        """Whether no other driver has signed on; one that was killed counts until somebody removes what it left."""
        return all(name.partition(".")[0] == self.driver.name for name in self._board.names(HEARTS))

    def ask_to_stop(self, driver: Driver) -> None:
        """Ask a driver, wherever it runs, to stop in good order; it looks every second."""
        self._board.write(_request(driver.name), user_here())

    def silent(self, driver: Driver) -> float:
        """Seconds since the last heartbeat of a driver, as far as the clocks of two machines agree."""
        return self._board.age(_heart(driver.name)) or 0.0

    def began(self, driver: Driver) -> float | None:
        """Seconds since a driver began, as far as clocks agree; None if it has ended."""
        return self._board.age(_identity(driver.name))

    def _known(self) -> Iterator[Driver]:
        """The drivers that have not signed off."""
        for name in self._board.names(HEARTS):
            if name.endswith(".json") and (driver := _driver(self._board.read(f"{HEARTS}/{name}"))) is not None:
                yield driver

    def _bury(self) -> None:
        """Remove what killed drivers of this host left; their leases say themselves whose they were.

        And what came too late: a last beat, or a request to stop, of a driver that had signed off by then. The first
        that a driver writes, and the last that it removes, is its identity.
        """
        for driver in self._known():
            if driver.here() and not driver.alive_here():
                self._remove(driver.name)
        names = self._board.names(HEARTS)
        signed_on = {name.partition(".")[0] for name in names if name.endswith(".json")}
        for name in names:
            if name.endswith((".beat", ".stop")) and name.partition(".")[0] not in signed_on:
                self._board.remove(f"{HEARTS}/{name}")

    def _remove(self, driver: str) -> None:
        for name in (_heart(driver), _request(driver), _identity(driver)):
            self._board.remove(name)

    @property
    def _board(self) -> Board:
        return self.store.board

    @property
    def _note(self) -> str:
        return json.dumps(asdict(self.driver))

    def _lives(self, holder: Driver) -> bool:
        if holder.here():
            return holder.alive_here()
        found = self._board.read(_heart(holder.name))
        beat = int(found.text) if found is not None and found.text.isdigit() else -1
        known, since = self._seen.get(holder.name, (None, 0.0))
        if beat != known:
            self._seen[holder.name] = (beat, time.monotonic())
            return True
        return time.monotonic() - max(since, self._board.away) < 3 * BEAT

    def _beat(self, count: int) -> None:
        self._board.write(_heart(self.driver.name), str(count))

    def _keep_beating(self) -> None:
        count, due, asked = 0, time.monotonic() + BEAT, False
        while not self._stop.wait(min(LOOK, BEAT)):
            # A full disk must not end the heart: the next beat may succeed.
            with contextlib.suppress(OSError):
                if time.monotonic() >= due:
                    count, due = count + 1, time.monotonic() + BEAT
                    self._beat(count)
                request = None if asked or self.stop is None else self._board.read(_request(self.driver.name))
                if self.stop is not None and request is not None:
                    asked = True
                    self.stop(request.text)


def _lease(key: str) -> str:
    return f"{FOLDER}/{key}"


def _identity(driver: str) -> str:
    return f"{HEARTS}/{driver}.json"


def _heart(driver: str) -> str:
    return f"{HEARTS}/{driver}.beat"


def _request(driver: str) -> str:
    return f"{HEARTS}/{driver}.stop"


def _driver(note: Note | None) -> Driver | None:
    """Who wrote a note; None where it is damaged, or was removed just now."""
    with contextlib.suppress(ValueError, TypeError):
        return None if note is None else Driver(**json.loads(note.text))
    return None
