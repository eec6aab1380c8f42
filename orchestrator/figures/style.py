"""How figures look: colours that the colour-blind and grey printers tell apart, with marks and dashes beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, FAINT, GRID, PAPER = "#1A1A1B", "#595959", "#DDDDDD", "#FFFFFF"
PALETTE = ("#0B4F9E", "#C96A00", "#7A1E5C", "#1F9470", "#1A1A1A", "#3B93CC")
"""Contrast with white at least 3; told apart under protanopia, deuteranopia and tritanopia."""
SIDES = ("#E6EDF7", "#F0D9B8")  # of a decision boundary: lighter and darker in grey too
DARK = dict(
    zip(
        (INK, FAINT, GRID, PAPER, *PALETTE, *SIDES),
        (
            *("#E8E8E8", "#B4B8BE", "#3A3F46", "#15181C"),
            *("#3D7FF0", "#F0A030", "#C26BB0", "#2FA383", "#EDEDED", "#9AD7FF", "#1E2C42", "#56401C"),
        ),
        strict=True,
    )
)
"""What stands for each colour on a dark page."""

MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)), (0, (9, 2, 2, 2, 2, 2)))
SURFACE = "cividis"  # even in lightness, and made for the colour-blind
FONT = 8.5  # points
SETTINGS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT - 0.5,
    "ytick.labelsize": FONT - 0.5,
    "legend.fontsize": FONT - 0.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "errorbar.capsize": 2.2,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and edited
    "svg.hashsalt": "sweep",
    "pdf.fonttype": 42,
    "axes.formatter.use_mathtext": False,
    "image.composite_image": False,
}


def colour(line: int) -> str:
    return PALETTE[line % len(PALETTE)]


def mark(line: int) -> str:
    return MARKS[line % len(MARKS)]


def dash(line: int) -> Any:
    return DASHES[line % len(DASHES)]


def plain(text: str) -> str:
    """A text that matplotlib shows as it is: no mathematics between dollars."""
    return text.replace("$", r"\$")


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user has set."""
    import warnings

    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        for name, value in SETTINGS.items():
            matplotlib.rcParams[name] = value  # pyright: ignore[reportArgumentType]
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a viewer has other fonts for it
        yield
