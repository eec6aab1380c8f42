"""Keeps the screen ours: what Ray, MLflow and torch print goes to a log file, at the level of file descriptors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def quiet(log: Path) -> Iterator[TextIO]:
    """Send everything that this process prints to `log`; what is written to the stream it yields reaches the screen."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        with open(log, "ab") as file, os.fdopen(os.dup(saved[0]), "w", buffering=1, encoding="utf-8") as screen:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield screen
    finally:
        with suppress(OSError):  # a log that cannot be written must not hide what ended the run
            sys.stdout.flush()
            sys.stderr.flush()
        for number, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
