"""Whether the Ray that a driver uses is alive: its head's port and this host's raylet take connections."""

from __future__ import annotations

import socket
import time

from orchestrator.errors import EngineLost

ASK_SECONDS = 1.0
LOST_SECONDS = 12.0  # how long it may not answer before it counts as dead


class Pulse:
    """Asks again and again.

    Args:
        head: `host:port` of Ray's head.
        raylet: The path of the raylet's socket.
    """

    def __init__(self, head: str, raylet: str) -> None:
        host, _, port = head.rpartition(":")
        self._head = host, int(port)
        self._raylet = raylet.removeprefix("unix://")
        self._answered = self._asked = time.monotonic()

    def check(self) -> None:
        """Ask, about once a second.

        Raises:
            EngineLost: it has not answered for a while.
        """
        if time.monotonic() - self._asked < ASK_SECONDS:
            return
        silent = self._silent()
        self._asked = time.monotonic()
        if silent is None:
            self._answered = self._asked
        elif self._asked - self._answered > LOST_SECONDS:
            raise EngineLost(
                f"{silent} does not answer any more; what is finished is kept, and the same command goes on"
            )

    def _silent(self) -> str | None:
        """What does not answer."""
        try:
            socket.create_connection(self._head, timeout=2).close()
        except OSError:
            return f"Ray's head ({self._head[0]}:{self._head[1]})"
        with socket.socket(socket.AF_UNIX) as raylet:
            raylet.settimeout(2)
            try:
                raylet.connect(self._raylet)
            except OSError:
                return "Ray's process on this machine (raylet)"
        return None
