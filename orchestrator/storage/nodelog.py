"""What a node printed, kept in the store: logs/<ab>/<key>.log. A node that printed nothing has none."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store import Store, write_atomically

MOST = 1 << 20  # bytes kept of one node: its last


def node_log(store: Store, key: str) -> Path:
    """Where the log of a node lies."""
    return store.root / "logs" / key[:2] / f"{key}.log"


@dataclass(frozen=True)
class Printed:
    """The file that this process prints to, and how long it was when the node began."""

    path: Path
    start: int

    @classmethod
    def now(cls) -> Printed | None:
        """None where what is printed goes to a terminal or a pipe."""
        with suppress(OSError):
            _flush()
            path = Path(os.readlink("/proc/self/fd/1"))
            if path.is_file():
                return cls(path, path.stat().st_size)
        return None

    def keep(self, store: Store, key: str) -> None:
        """Keep what was printed since; a log that cannot be written ends nothing."""
        with suppress(OSError):
            _flush()
            with open(self.path, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                if end == self.start:
                    return
                file.seek(max(self.start, end - MOST))
                write_atomically(node_log(store, key), file.read())
            store.send(node_log(store, key))


def _flush() -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
