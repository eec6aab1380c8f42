"""What is said of an error in one line."""

from __future__ import annotations

import traceback


def last_line(error: BaseException) -> str:
    """The error by its name and what it says; notes that were added to it are in its traceback only."""
    described = traceback.TracebackException.from_exception(error)
    described.__notes__ = None
    return [*described.format_exception_only()][-1].strip()
