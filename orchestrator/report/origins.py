"""Where each number of a table comes from, on demand: the trials behind it, their values, their nodes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orchestrator.figures.source import NODE, Levels, Trials
from orchestrator.findings.levels import level_text
from orchestrator.findings.residuals import RESIDUAL, value_text
from orchestrator.record import METRIC
from orchestrator.report.page import escape, table
from orchestrator.sweepfile.axes import SEED

if TYPE_CHECKING:
    from orchestrator.report.dossier import Dossier
    from orchestrator.tables import Table

MOST = 30  # trials of one number that are shown; the rest is in the records
KEY = 12  # digits of a node's key that are shown


def with_origins(made: Table, fragment: str, dossier: Dossier) -> tuple[str, str]:
    """The table's HTML with each of our numbers as a button, and the panels that the buttons open."""
    groups = {
        (row, column): group
        for row, own in Trials.of(dossier.source, {}, made.name).split(made.rows)
        for column, group in own.split(made.columns)
    }
    panels: list[str] = []

    def linked(row: int, column: int, content: str) -> str:
        levels, metric = made.header[column]
        group = groups.get((made.row_labels[row], levels))
        if group is None:
            return content
        name = f"{made.name}-{row}-{column}"
        panels.append(_panel(name, metric, group, made.row_labels[row], levels, made, dossier))
        return f'<button type="button" class="number" popovertarget="{name}">{content}</button>'

    return _rewritten(fragment, [*_columns(made)], linked), "\n".join(panels)


def _columns(made: Table) -> Iterator[int | None]:
    """For each printed column the column of `Table.header` whose values of ours it has; None for the paper's."""
    for index in range(len(made.header)):
        yield index
        if any(row[index].paper for row in made.cells):
            yield None


def _rewritten(fragment: str, columns: list[int | None], linked: Callable[[int, int, str], str]) -> str:
    """Each cell of the body through `linked`."""
    start, end = fragment.index("<tbody>"), fragment.index("</tbody>")
    lines = fragment[start:end].split("</tr>")

    def row_of(number: int, line: str) -> str:
        found = re.findall(r"<td[^>]*>", line)
        if len(found) != len(columns):
            return line
        places = iter(columns)

        def cell(match: re.Match[str]) -> str:
            column = next(places)
            return match[0] if column is None else f"{match[1]}{linked(number, column, match[2])}</td>"

        return re.sub(r"(<td[^>]*>)(.*?)</td>", cell, line)

    return fragment[:start] + "</tr>".join(row_of(*item) for item in enumerate(lines)) + fragment[end:]


def _panel(name: str, metric: str, group: Trials, row: Levels, column: Levels, made: Table, dossier: Dossier) -> str:
    """What one number is of."""
    source = dossier.source
    at = ", ".join(
        f"{source.short[axis]} = {level_text(level)}"
        for axis, level in zip((*made.rows, *made.columns), (*row, *column), strict=True)
    )
    own = [axis for axis in source.axes if axis == SEED or axis not in (*made.rows, *made.columns)]
    values, residuals = source.column(f"{METRIC}{metric}"), source.column(f"{METRIC}{metric}{RESIDUAL}")
    labels = targets(dossier, metric)
    shown = group.rows[:MOST]
    rows = [
        [
            *(escape(level_text(level)) for level in group.levels(index, own)),
            value_text(values[index], residuals[index]) or "–",
            escape(str(group.statuses[index])),
            _key(source.column("meta.commit")[index]),
            *(_key(source.column(f"{NODE}{label}")[index]) for label in labels),
        ]
        for index in shown
    ]
    header = [
        *(source.short[axis] for axis in own),
        metric,
        "status",
        "commit",
        *(f"node of {label}" for label in labels),
    ]
    more = f"<p>{len(group.rows) - MOST} more trials are in the records.</p>" if len(group.rows) > MOST else ""
    caption = f"{metric} at {at}: {len(group.rows)} trials" if at else f"{metric}: {len(group.rows)} trials"
    hint = "<code>sweep why KEY</code> explains a node; its files are in <code>nodes/</code> of the store."
    shown = f'{table(caption, header, rows, 0)}{more}<p class="faint">{hint}</p>'
    return f'<div popover id="{escape(name)}">\n{shown}\n</div>'


def targets(dossier: Dossier, metric: str) -> list[str]:
    """The stages, or their measures, whose nodes report a metric."""
    last = metric.rpartition(".")[2]
    named = [label for label in dossier.labels if label.rpartition(".")[2] == last or metric.startswith(f"{label}.")]
    if named:
        return named
    found = []
    for label, counts in dossier.uses.items():
        keys = (key for key in counts if key in dossier.outcomes)
        first = next(keys, None)
        if first is not None and last in dossier.outcomes[first].metrics:
            found.append(label)
    return found


def _key(key: str | None) -> str:
    return "–" if key is None else f'<code title="{escape(key)}">{escape(key[:KEY])}</code>'
