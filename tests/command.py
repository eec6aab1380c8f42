"""A command of `sweep` in the process of the test: seconds less than one of its own, which would import torch again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from typing import BinaryIO, TextIO

from orchestrator.cli import main


def can_be_here(*arguments: object) -> bool:
    """Whether a command may run in this process: all but runs that start a Ray."""
    return arguments[0] != "run" or "--inline" in arguments


def sweep_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Its exit code and all that it printed, also past Python's own streams."""
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        path = sys.path[:]  # a command adds the folder that it is called in
        with _tests_own_limit(), _shown(1, out, redirect_stdout), _shown(2, errors, redirect_stderr):
            try:
                code = main(words)
            except SystemExit as ended:  # argparse
                code = int(ended.code or 0)
            finally:
                sys.path[:] = path
        printed = [_text(file) for file in (out, errors)]
    return subprocess.CompletedProcess(["sweep", *words], code, *printed)


@contextmanager
def _shown(number: int, file: BinaryIO, redirect: Callable[[TextIO], AbstractContextManager[TextIO]]) -> Iterator[None]:
    """A descriptor, and Python's stream of it, lead to `file`."""
    saved = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        with open(number, "w", encoding="utf-8", closefd=False) as stream, redirect(stream):
            yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


@contextmanager
def _tests_own_limit() -> Iterator[None]:
    """An inline run sets the alarm for its nodes, and so takes it from pytest-timeout: give it back."""
    left, started = signal.getitimer(signal.ITIMER_REAL)[0], time.monotonic()
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - started)))


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()
