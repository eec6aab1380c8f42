"""Plots of a node's curves as SVG, small and fast: the writer makes one for every training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 320, 200, 44  # of one panel, in pixels
COLUMNS = 3
MAX_POINTS = 400  # a panel shows at most so many of a curve: every n-th, and the last
STYLE = "font-family='sans-serif' font-size='10' fill='#444'"


def plot(title: str, path: Path) -> str:
    """A panel for every name that a history (a Parquet file with a column `step`) has, as SVG."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    steps = table["step"].to_pylist()
    names = [name for name in table.column_names if name != "step"]
    rows = -(-len(names) // COLUMNS)
    width, height = WIDTH * min(COLUMNS, len(names) or 1), HEIGHT * rows + 24
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}'>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
        f"<text x='8' y='16' {STYLE} font-weight='bold'>{escape(title)}</text>",
    ]
    for index, name in enumerate(names):
        x, y = index % COLUMNS * WIDTH, index // COLUMNS * HEIGHT + 24
        points = [(step, value) for step, value in zip(steps, table[name].to_pylist(), strict=True) if _shown(value)]
        parts += [f"<g transform='translate({x},{y})'>", *_panel(name, _thinned(points)), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _shown(value: float | None) -> bool:
    return value is not None and value - value == 0


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    every = -(-len(points) // MAX_POINTS) or 1
    return [*points[::every], *(points[-1:] if points and (len(points) - 1) % every else [])]


def _panel(name: str, points: Sequence[tuple[int, float]]) -> Iterator[str]:
    yield f"<text x='{MARGIN}' y='14' {STYLE}>{escape(name)}</text>"
    right, bottom = WIDTH - 12, HEIGHT - 24
    yield f"<path d='M{MARGIN},20 V{bottom} H{right}' fill='none' stroke='#999'/>"
    if not points:
        yield f"<text x='{MARGIN + 8}' y='40' {STYLE}>no finite values</text>"
        return
    low_x, high_x = points[0][0], points[-1][0]
    low_y, high_y = min(value for _, value in points), max(value for _, value in points)
    for text, x, y, anchor in (
        (f"{high_y:.4g}", MARGIN - 4, 28, "end"),
        (f"{low_y:.4g}", MARGIN - 4, bottom, "end"),
        (str(low_x), MARGIN, bottom + 14, "start"),
        (str(high_x), right, bottom + 14, "end"),
    ):
        yield f"<text x='{x}' y='{y}' text-anchor='{anchor}' {STYLE}>{text}</text>"
    placed = [
        (
            MARGIN + 4 + (step - low_x) / ((high_x - low_x) or 1) * (right - MARGIN - 8),
            bottom - 4 - (value - low_y) / ((high_y - low_y) or 1) * (bottom - 30),
        )
        for step, value in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    yield f"<polyline points='{line}' fill='none' stroke='#0072b2' stroke-width='1.5'/>"
    yield f"<circle cx='{placed[-1][0]:.1f}' cy='{placed[-1][1]:.1f}' r='2.5' fill='#0072b2'/>"
