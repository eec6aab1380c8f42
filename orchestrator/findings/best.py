"""Which cells of a table are the best ones, as its `best` and `best_in` say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.spec import TableSpec
    from orchestrator.tables import Cell, Levels

WORDS = {"max": "highest", "min": "lowest"}


def best_cells(
    spec: TableSpec, header: Sequence[tuple[Levels, str]], cells: Sequence[Sequence[Cell]]
) -> frozenset[tuple[int, int]]:
    """(row, column) of the cells with the best centre among those of their metric in a column, a row or the table.

    Equal ones are all best; a cell without values is none, and nothing is best where it has no other beside it.
    """
    rivals: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    for row, own in enumerate(cells):
        for column, (_, metric) in enumerate(header):
            if metric in wanted(spec) and own[column].mean is not None:
                where = {"column": (column,), "row": (row, metric), "table": (metric,)}[spec.best_in]
                rivals.setdefault(where, []).append((row, column))
    return frozenset(
        place for group in rivals.values() if len(group) > 1 for place in _best(spec, group, header, cells)
    )


def _best(
    spec: TableSpec,
    group: Sequence[tuple[int, int]],
    header: Sequence[tuple[Levels, str]],
    cells: Sequence[Sequence[Cell]],
) -> list[tuple[int, int]]:
    values = {(row, column): value for row, column in group if (value := cells[row][column].mean) is not None}
    wish = wanted(spec)[header[group[0][1]][1]]
    best = max(values.values()) if wish == "max" else min(values.values())
    return [place for place, value in values.items() if value == best]


def wanted(spec: TableSpec) -> Mapping[str, str]:
    """By metric whether the highest or the lowest is best; metrics without such are not there."""
    if spec.best is None:
        return {}
    return spec.best if isinstance(spec.best, Mapping) else dict.fromkeys(spec.values, spec.best)


def sentence(spec: TableSpec) -> str:
    """What bold means, for the caption; "" where nothing is."""
    if not wanted(spec):
        return ""
    where = {"column": "of each column", "row": "of each row", "table": "of all"}[spec.best_in]
    wishes = {wish: [name for name, own in wanted(spec).items() if own == wish] for wish in WORDS}
    said = [f"the {WORDS[wish]} {' and '.join(names)}" for wish, names in wishes.items() if names]
    return f"Bold (* in plain text): {', '.join(said)} {where}."
