"""Time limits of nodes: what to say where one is exceeded."""

from __future__ import annotations

UNITS = (("h", 3600), ("min", 60))


class TimeLimit(BaseException):
    """The node `key` has had its time. No Exception: a workload that catches those would go on."""

    def __init__(self, key: str, seconds: float) -> None:
        self.key = key
        super().__init__(exceeded(seconds))


def exceeded(seconds: float) -> str:
    """The error of a node that took too long.

    Example:
        >>> [exceeded(seconds) for seconds in (1800, 5400, 90, 0.5)]  # doctest: +NORMALIZE_WHITESPACE
        ['time limit of 30 min exceeded', 'time limit of 90 min exceeded',
         'time limit of 90 s exceeded', 'time limit of 0.5 s exceeded']
    """
    for unit, size in UNITS:
        if seconds >= size and seconds % size == 0:
            return f"time limit of {seconds / size:g} {unit} exceeded"
    return f"time limit of {seconds:g} s exceeded"
