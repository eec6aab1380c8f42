"""A page of HTML that stands alone: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from orchestrator.report.stylesheet import stylesheet

LONG = ' class="long"'  # a text that wants room
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

__all__ = ["cells", "details", "escape", "page", "scrolling", "section", "table", "text", "words"]


def page(title: str, sections: Iterable[tuple[str, str, str]], head: str) -> str:
    """The whole page; `sections` are (id, heading, content), `head` stands under the title."""
    shown = [item for item in sections if item[2]]
    links = "".join(f'<li><a href="#{name}">{escape(heading)}</a></li>' for name, heading, _ in shown)
    body = "\n".join(section(*item) for item in shown)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{stylesheet()}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{head}
</header>
<nav aria-label="Contents"><ul>{links}</ul></nav>
<main>
{body}
</main>
</body>
</html>
"""


def section(name: str, heading: str, content: str) -> str:
    opening = f'<section id="{name}" aria-labelledby="{name}-h">\n<h2 id="{name}-h">{escape(heading)}</h2>'
    return f"{opening}\n{content}\n</section>"


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], heads: int = 1) -> str:
    """A table that scrolls by itself where it is wide; `rows` are HTML, their first `heads` cells name the row."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    lines = "\n".join(f"<tr>{cells(row, heads)}</tr>" for row in rows)
    head = f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{top}</tr></thead>"
    return scrolling(caption, f"{head}\n<tbody>\n{lines}\n</tbody>\n</table>")


def cells(row: Sequence[str], heads: int) -> str:
    return "".join(
        f'<th scope="row">{cell}</th>' if place < heads else f"<td{LONG if len(cell) > 40 else ''}>{cell}</td>"
        for place, cell in enumerate(row)
    )


def words(content: str) -> str:
    """A table of texts and not of numbers."""
    return f'<div class="words">{content}</div>'


def scrolling(name: str, content: str) -> str:
    """What may be wider than the screen; it can be reached and scrolled with the keyboard."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">\n{content}\n</div>'


def details(summary: str, content: str) -> str:
    """What is shown on demand."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}\n</details>"


def text(words: str) -> str:
    return f"<p>{escape(words)}</p>"
