"""How a run is asked to stop: by SIGINT or SIGTERM, in good order the first time, at once the second; or by another
process, through the store."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

GRACE = 4.0  # seconds that what is under way has to end, or to come to where it can be kept


class Interrupted(KeyboardInterrupt):
    """A stop was asked for, by signal `number`; what is finished is kept, and of the rest what could be."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        return 128 + self.number


class Stopping:
    """Whether the driver was asked to stop. Use as a context manager around the run.

    Attributes:
        number: The signal that asked; None while none did.
        since: When it did, on the monotonic clock.
        why: Who asked, where it was not by a signal.
        told: Called when it does, by the handler of the signal.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.since = 0.0
        self.why = ""
        self.told: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Hear the signals, also after a library has put its own handlers in place."""
        for number in self._before:
            signal.signal(number, self._hear)

    def ask(self, who: str) -> None:
        """Stop as SIGTERM would; from any thread, and never at once."""
        if self.number is None:
            self.why = f"asked by {who} (sweep stop)"
            self._hear(signal.SIGTERM, None)

    def overdue(self, more: float = 0.0) -> bool:
        """Whether what was asked to stop has had its time, and so many seconds more."""
        return self.number is not None and time.monotonic() - self.since >= GRACE + more

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            leave_now(128 + number)
        self.number, self.since = number, time.monotonic()
        if self.told is not None:
            self.told()


def leave_now(code: int) -> None:
    """End this process without a word to anyone: whatever is in the store is whole, and nothing else matters."""
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        os.write(sys.__stderr__.fileno(), b"\x1b[?25h\n")  # the live view had hidden the cursor
    os._exit(code)


@dataclass
class Leaving:
    """The nodes that a group has under way, and whether each has been kept since they were asked to leave.

    Args:
        asked: Whether they are to leave.
    """

    asked: Callable[[], bool]
    _kept: dict[Hashable, bool] = field(default_factory=dict)

    def begin(self, node: Hashable) -> None:
        """A node begins, if it may.

        Raises:
            Interrupted: there is nothing under way, and nothing is to begin.
        """
        if self.ready:
            raise Interrupted
        self._kept[node] = False

    def kept(self, node: Hashable) -> None:
        """A node that is to leave has a checkpoint of where it is now.

        Raises:
            Interrupted: so have all others.
        """
        self._kept[node] = True
        if self.ready:
            raise Interrupted

    def end(self, node: Hashable) -> None:
        self._kept.pop(node, None)

    @property
    def ready(self) -> bool:
        """Whether they are to leave and nothing would be lost by it."""
        return self.asked() and all(self._kept.values())
