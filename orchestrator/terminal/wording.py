"""How far a run is, in words and numbers: what the plain lines and the live view say alike."""

from __future__ import annotations

import shlex
from pathlib import Path

from orchestrator.store import Store
from orchestrator.terminal.tally import Left, Tally


def duration(seconds: float) -> str:
    """Example:
    >>> [duration(value) for value in (4.2, 75, 3725, 200000)]
    ['4 s', '1:15 min', '1:02 h', '2 d 7 h']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 86400:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def left_text(left: Left | None) -> str:
    """Example:
    >>> left_text(Left(75.0, 12.0, False))
    '~1:15 min left (+- 12 s)'
    """
    if left is None or left.seconds < 1:
        return ""
    spread = f" (+- {duration(left.spread)})" if left.spread is not None and left.spread >= 1 else ""
    return f"{'more than ' if left.at_least else '~'}{duration(left.seconds)} left{spread}"


def start_line(name: str, tally: Tally) -> str:
    """The first plain line."""
    done = f", {tally.trials_done} already done" if tally.trials_done else ""
    return f"{name}: {tally.trials} trials{done}; {len(tally.needed)} of {len(tally.plan.nodes)} nodes to run"


def node_counts(tally: Tally) -> str:
    """The nodes by what became of them, without what there is none of."""
    counts = {"done": len(tally.done), "failed": len(tally.failed), "skipped": len(tally.skipped)}
    counts |= {"running": len(tally.running), "waiting": tally.waiting}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "done")


def progress_line(name: str, tally: Tally, now: float) -> str:
    """A plain line on how far the run is."""
    parts = [f"{name}: {tally.trials_done} of {tally.trials} trials", f"nodes: {node_counts(tally)}"]
    parts.append(duration(now - tally.started))
    if tally.running or tally.waiting:
        parts.append(left_text(tally.left(now)))
    return "; ".join(part for part in parts if part)


def pace_text(tally: Tally, now: float) -> str:
    """Nodes per second, minute or hour: whichever is easy to read."""
    rate = tally.rate(now)
    if rate == 0:
        begun = tally.running or tally.failed or not tally.waiting
        return "nothing finished yet" if begun else "no worker has begun yet"
    for unit, seconds in (("s", 1), ("min", 60)):
        if rate * seconds >= 1:
            return f"{rate * seconds:.1f} nodes/{unit}"
    return f"{rate * 3600:.1f} nodes/h"


def store_option(store: Store) -> str:
    """What names the store to the next command: nothing where that finds it by itself."""
    return "" if store.root == Path("runs").absolute() else f" --store {shlex.quote(store.uri)}"
