"""Tables as LaTeX (booktabs) and HTML: fragments that stand as they are, with every text escaped."""

from __future__ import annotations

import html as html_escapes
import re
import unicodedata
from typing import TYPE_CHECKING

from orchestrator.findings.layout import spans, without_repeats

if TYPE_CHECKING:
    from orchestrator.findings.layout import Grid

_TEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''", "[": "{[}",
    "]": "{]}", "±": r"$\pm$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "²": "$^2$", "µ": r"$\mu$", "−": "$-$",
    "`": r"\textasciigrave{}", "–": "--", "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "¶": r"\P{}", "∞": r"$\infty$",
    "→": r"$\to$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    r"""Text as pdflatex prints it; minus signs before numbers are minus signs, Greek letters are those of mathematics.

    Example:
        >>> escape_latex("50% of a_b & μ² = -3")
        '50\\% of a\\_b \\& $\\mu$$^2$ = $-$3'
    """
    flat = re.sub(r"(?<![\w.-])-(?=\d)", "−", " ".join(text.split()))
    return "".join(_TEX.get(letter) or _greek(letter) or letter for letter in flat)


def _greek(letter: str) -> str | None:
    """A Greek letter, with its accents, as mathematics has it; None for others."""
    base, *marks = unicodedata.normalize("NFD", letter)
    symbol = _symbol(base)
    for mark in marks:
        symbol = symbol and (f"\\{_ACCENTS[mark]}{{{symbol}}}" if mark in _ACCENTS else symbol)
    return symbol and f"${symbol}$"


def _symbol(letter: str) -> str | None:
    found = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([\w ]+)", unicodedata.name(letter, ""))
    if not found:
        return None
    size, name = found.groups()
    name = {"LAMDA": "LAMBDA", "FINAL SIGMA": "VARSIGMA"}.get(name, name)
    if name not in _OWN_CAPITALS | _LATIN_CAPITALS.keys():  # a letter that TeX has no name for
        return None
    if size == "SMALL":
        return "o" if name == "OMICRON" else f"\\{name.lower()}"
    return f"\\{name.capitalize()}" if name in _OWN_CAPITALS else f"\\mathrm{{{_LATIN_CAPITALS[name]}}}"


_ACCENTS = {"\u0300": "grave", "\u0301": "acute", "\u0308": "ddot", "\u0342": "tilde"}
_OWN_CAPITALS = {"GAMMA", "DELTA", "THETA", "LAMBDA", "XI", "PI", "SIGMA", "UPSILON", "PHI", "PSI", "OMEGA"}
_LATIN_CAPITALS = {
    "ALPHA": "A", "BETA": "B", "EPSILON": "E", "ZETA": "Z", "ETA": "H", "IOTA": "I", "KAPPA": "K", "MU": "M", "NU": "N",
    "OMICRON": "O", "RHO": "P", "TAU": "T", "CHI": "X", "VARSIGMA": "S",
}  # fmt: skip


def latex(grid: Grid) -> str:
    """A `table` environment; needs \\usepackage{booktabs}."""
    stub, depth = len(grid.stub), len(grid.header[0]) if grid.header else 0
    lines = [
        "% needs \\usepackage{booktabs}", "\\begin{table}", "\\centering", f"\\caption{{{escape_latex(grid.caption)}}}",
        f"\\begin{{tabular}}{{{'l' * stub}{'r' * len(grid.header)}}}", "\\toprule",
    ]  # fmt: skip
    for level in range(depth):
        innermost = level == depth - 1
        cells = [escape_latex(name) if innermost else "" for name in grid.stub]
        found = list(spans(grid.header, level))
        cells += [f"\\multicolumn{{{n}}}{{{'r' if n == 1 else 'c'}}}{{{escape_latex(title)}}}" for _, n, title in found]
        lines.append(" & ".join(cells) + r" \\")
        if not innermost:
            rules = [f"\\cmidrule(lr){{{stub + i + 1}-{stub + i + n}}}" for i, n, _ in found if n > 1]
            lines += [" ".join(rules)] if rules else []
    lines.append("\\midrule")
    for number, (labels, row) in enumerate(zip(without_repeats(grid.labels), grid.body, strict=True)):
        cells = [re.sub(r"^\*", "{*}", escape_latex(label)) for label in labels]  # `\\ *` would take the asterisk away
        for place, (text, mark) in enumerate(row):
            shown = f"\\textbf{{{escape_latex(text)}}}" if (number, place) in grid.bold else escape_latex(text)
            cells.append(shown + (f"\\textsuperscript{{{escape_latex(mark)}}}" if mark else ""))
        lines.append(" & ".join(cells) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    if grid.notes:
        notes = " ".join(escape_latex(f"{mark} {note}".strip().rstrip(".") + ".") for mark, note in grid.notes)
        lines.append(f"\n\\smallskip\n{{\\footnotesize {notes}\\par}}")
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def html(grid: Grid) -> str:
    """A `<table>` with caption, scoped headers and its notes in the foot; no style, no script."""
    stub, depth = len(grid.stub), len(grid.header[0]) if grid.header else 0
    lines = ["<table>", f"<caption>{_html(grid.caption)}</caption>", "<thead>"]
    for level in range(depth):
        names = [f'<th scope="col" rowspan="{depth}">{_html(name)}</th>' for name in grid.stub] if level == 0 else []
        groups = [
            f'<th scope="{"col" if n == 1 else "colgroup"}" colspan="{n}">{_html(title)}</th>'
            for _, n, title in spans(grid.header, level)
        ]
        lines.append(f"<tr>{''.join(names + groups)}</tr>")
    lines += ["</thead>", "<tbody>"]
    for number, (labels, row) in enumerate(zip(grid.labels, grid.body, strict=True)):
        heads = [f'<th scope="row">{_html(label)}</th>' for label in labels]
        cells = []
        for place, (text, mark) in enumerate(row):
            shown = f"<strong>{_html(text)}</strong>" if (number, place) in grid.bold else _html(text)
            cells.append(f"<td>{shown}{f'<sup>{_html(mark)}</sup>' if mark else ''}</td>")
        lines.append(f"<tr>{''.join(heads + cells)}</tr>")
    lines.append("</tbody>")
    if grid.notes:
        notes = "<br>".join(_html(f"{mark} {note}".strip()) for mark, note in grid.notes)
        lines.append(f'<tfoot><tr><td colspan="{stub + len(grid.header)}">{notes}</td></tr></tfoot>')
    return "\n".join([*lines, "</table>"]) + "\n"


def _html(text: str) -> str:
    return html_escapes.escape(text)
