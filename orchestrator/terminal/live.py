"""The live view: one picture of a run, as large as the window."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.terminal.tally import Running, Tally, described
from orchestrator.terminal.wording import duration, left_text, node_counts, pace_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text


def frame(name: str, tally: Tally, now: float, width: int, height: int) -> Group:
    """One picture of the live view: lines that are cut, never wrapped, and no more of them than the window has."""
    from rich.console import Group
    from rich.text import Text

    width = max(1, width - len("^C") - 1)  # the terminal echoes that after the last line, and it must not wrap
    over = not tally.running and not tally.waiting
    lines = [
        Text.assemble((name, "bold"), "  ", (duration(now - tally.started), "dim")),
        _bar(tally, width),
        Text(f"nodes   {node_counts(tally)}"),
        Text(f"pace    {pace_text(tally, now)}  {'' if over else left_text(tally.left(now))}".rstrip()),
    ]
    lines += [Text(f"gpus    {used}")] if (used := gpus_text(tally.busy)) else []
    errors = [Text(f"error   {tally.last_error}", "red")] if tally.last_error else []
    room = max(1, height - len(lines) - len(errors) - 2)
    arrays = tally.arrays
    shown = arrays if len(arrays) <= room else arrays[: room - 1]
    lines += [_running_line(items, width) for items in shown]
    if len(shown) < len(arrays):
        lines.append(Text(f"        and {sum(map(len, arrays)) - sum(map(len, shown))} more", "dim"))
    for line in (*lines, *errors):
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(width, overflow="ellipsis")
    return Group(*lines, *errors)


def gpus_text(busy: Mapping[str, float]) -> str:
    """How busy each GPU of which something is known is, and its memory in use; "" where there is none.

    Example:
        >>> gpus_text({"gpu_0_utilization_percentage": 93.0, "gpu_0_memory_usage_percentage": 41.2})
        '0: 93 % busy, 41 % of memory'
    """
    found: dict[str, list[str]] = {}
    for what, words in (("utilization", "{:.0f} % busy"), ("memory_usage", "{:.0f} % of memory")):
        for name, value in sorted(busy.items()):
            if match := re.search(rf"gpu_(\d+)_{what}_percentage$", name):
                found.setdefault(match[1], []).append(words.format(value))
    return "  ".join(f"{index}: {', '.join(parts)}" for index, parts in sorted(found.items()))


def between(values: Sequence[float]) -> str:
    """The least and the greatest of the values, those aside that are not numbers.

    Example:
        >>> between([0.5]), between([0.25, 3.0, 1.5]), between([float("nan"), 2.0]), between([float("nan")])
        ('0.5', '0.25..3', '2', 'nan')
    """
    found = [value for value in values if value == value]
    texts = dict.fromkeys(f"{value:.4g}" for value in (min(found), max(found))) if found else {"nan": None}
    return "..".join(texts)


def _bar(tally: Tally, width: int) -> Text:
    from rich.text import Text

    count = f" {tally.trials_done}/{tally.trials}"
    size = max(5, min(40, width - len("trials  ") - len(count)))
    full = size * tally.trials_done // max(tally.trials, 1)
    return Text.assemble("trials  ", ("━" * full, "green"), ("─" * (size - full), "dim"), count)


def _running_line(items: Sequence[Running], width: int) -> Text:
    """A node, or the nodes of an array: what their levels have in common, and between what their values lie."""
    from rich.text import Text

    values: dict[str, list[float]] = {}
    for item in items:
        steps = {} if item.step is None or "epoch" in item.values else {"step": item.step}
        for name, value in {**steps, **item.values}.items():
            values.setdefault(name, []).append(value)
    shown = "  ".join(f"{name} {between(found)}" for name, found in values.items())
    room = max(16, width // 2 - 10)
    label = items[0].label
    if len(items) > 1:
        common = items[0].levels.items() & set.intersection(*(set(item.levels.items()) for item in items))
        levels = {name: text for name, text in items[0].levels.items() if (name, text) in common}
        label = f"{len(items)} x {described(items[0].name, levels)}"
    label = label if not shown or len(label) <= room else label[: room - 1] + "…"
    return Text.assemble("        " if width >= 60 else "  ", (label, "cyan"), "  " if shown else "", shown)
