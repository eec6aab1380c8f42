"""A chart as a file: SVG, PDF or PNG; equal charts give equal bytes on one version of matplotlib."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from orchestrator.errors import SweepError, allowed
from orchestrator.figures.style import DARK, PAPER, drawing

if TYPE_CHECKING:
    from orchestrator.figures.chart import Chart

FORMATS = ("svg", "pdf", "png")
DPI = 200


def render(chart: Chart, format: str) -> bytes:
    """The file's content.

    Raises:
        SweepError: no such format.
    """
    if format not in FORMATS:
        raise SweepError(f"format {format!r}; {allowed(format, FORMATS)}")
    from orchestrator.figures.draw import draw

    metadata = {
        "svg": {"Date": None, "Creator": None, "Title": chart.title or chart.name, "Description": chart.description},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None, "Title": chart.title or chart.name},
        "png": {"Software": None, "Title": chart.title or chart.name, "Description": chart.description},
    }[format]
    sink = io.BytesIO()
    with drawing():
        draw(chart).savefig(sink, format=format, dpi=DPI, facecolor=PAPER, metadata=metadata)
    return sink.getvalue()


def inline(chart: Chart, prefix: str, title: str) -> str:
    """An `<svg>` to stand in a page: ids begin with `prefix`, colours are the page's, its title is read aloud."""
    text = render(chart, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    for light in DARK:
        text = re.sub(light, f"var(--f{light[1:].lower()})", text, flags=re.IGNORECASE)
    start, end = text.index("<svg"), text.index(">", text.index("<svg"))
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', text[start:end])[:2]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="{prefix}-title {prefix}-what" '
        f'style="--wide:{float(width):.0f}">'
    )
    said = (
        f'<title id="{prefix}-title">{escape(title)}</title><desc id="{prefix}-what">{escape(chart.description)}</desc>'
    )
    return head + said + text[end + 1 :]


def colours(dark: bool) -> str:
    """The page's CSS variables of the figures' colours."""
    return " ".join(f"--f{light[1:].lower()}: {shade if dark else light};" for light, shade in DARK.items())
