"""What a sweep found: the question, its claims with verdicts, tables, figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator import tables
from orchestrator.claims import SIGNS, judge_all
from orchestrator.errors import SweepError
from orchestrator.figures.charts import chart
from orchestrator.findings import power
from orchestrator.findings.cases import Undecidable, cases
from orchestrator.findings.notation import interval_text
from orchestrator.findings.render import render
from orchestrator.findings.verdicts import correction, tally
from orchestrator.report.origins import MOST, with_origins
from orchestrator.report.page import details, escape, scrolling, table, text, words

if TYPE_CHECKING:
    from orchestrator.claims import Verdict
    from orchestrator.figures.chart import Chart
    from orchestrator.report.dossier import Dossier


def verdicts(dossier: Dossier) -> list[Verdict]:
    return judge_all(dossier.spec.claims.values(), dossier.records)


def charts(dossier: Dossier) -> dict[str, Chart]:
    """The figures by name.

    Raises:
        SweepError: one asks for what the records do not have.
    """
    return {name: chart(figure, dossier.source) for name, figure in dossier.spec.figures.items()}


def head(dossier: Dossier) -> str:
    """Under the title: the name, the source, and whether the sweep is whole."""
    source = source_text(dossier.spec.source)
    line = f"Sweep <code>{escape(dossier.name)}</code>, {dossier.trials} trials"
    parts = [f"<p>{line}{f'. After {escape(source)}' if source else ''}.</p>"]
    if dossier.partial:
        parts.append(f'<p class="partial"><strong>Partial:</strong> {escape(dossier.partial)}.</p>')
    return "\n".join(parts)


def source_text(source: Mapping[str, Any]) -> str:
    """`liu2020bad, table 2`."""
    papers = source.get("papers", source.get("paper"))
    names = [str(item) for item in (papers if isinstance(papers, list | tuple) else [papers]) if item is not None]
    others = [f"{name} {value}" for name, value in source.items() if name not in ("paper", "papers")]
    return ", ".join([" and ".join(names), *others] if names else others)


def question(dossier: Dossier) -> str:
    """The comment at the head of the sweep's file, else its title; and the claims that are tested."""
    count = len(dossier.spec.claims)
    tested = [text(f"{count} claims are tested." if count > 1 else "One claim is tested.")] if count else []
    return "\n".join([text(dossier.remarks or dossier.spec.title or "Its file does not say."), *tested])


def claims(dossier: Dossier, found: list[Verdict]) -> str:
    """Each claim with its verdict, the numbers that decide it, the test, and all of its cases on demand."""
    least = min((verdict.n for verdict in found if verdict.n > 1), default=None)
    said = [tally(found), power.sentence(least) if least else ""]
    above = [text(" ".join(filter(None, said)))] if any(said) else []
    return "\n".join([*above, *(_claim(dossier, verdict, len(found)) for verdict in found)])


def _claim(dossier: Dossier, verdict: Verdict, count: int) -> str:
    at = f" at {verdict.combination}" if verdict.combination else ""
    lines = [
        f'<div class="claim {verdict.verdict}">',
        f"<h3>{verdict_text(verdict)} {escape(verdict.says)}</h3>",
        f"<p><code>{escape(verdict.name)}</code>: {escape(verdict.criterion)}</p>",
        f"<p>Found {escape(verdict.found)}, n = {verdict.n}{escape(at)} "
        f'<span class="faint">({escape(verdict.test)})</span></p>',
    ]
    if verdict.why:
        lines.append(text(f"{verdict.why[0].upper()}{verdict.why[1:]}."))
    if said := correction(verdict, count):
        lines.append(text(f"{said[0].upper()}{said[1:]}."))
    return "\n".join([*lines, _cases(dossier, verdict), "</div>"])


def _cases(dossier: Dossier, verdict: Verdict) -> str:
    """What every combination of levels says of a claim, with the values behind it."""
    claim = dossier.spec.claims[verdict.name]
    try:
        found = cases(claim, dossier.records)
    except Undecidable:
        return ""
    rows = []
    for case in found[:MOST]:
        low, high = (case.interval.low, case.interval.high) if case.interval else (None, None)
        estimate = case.center
        said = "–" if estimate is None else interval_text(estimate, low, high, claim.metric, verdict.difference)
        values = "; ".join(", ".join(f"{value:.6g}" for value in sample) for sample in case.samples)
        rows.append([escape(item) for item in (case.label or "all", said, case.judgement, values)])
    what = {"values": "values", "pairs": "differences by seed", "samples": "values of each level"}[found[0].kind]
    more = text(f"{len(found) - MOST} more cases are not shown.") if len(found) > MOST else ""
    shown = words(table(f"Cases of {verdict.name}", ["case", "found", "verdict", what], rows))
    return details(f"{len(found)} cases with their values" if len(found) > 1 else "The values", shown + more)


def verdict_text(verdict: Verdict) -> str:
    """The verdict with its sign; "alone" where Holm's correction for all claims of the sweep leaves it undecided."""
    alone = ' <span class="faint">alone</span>' if verdict.adjusted != verdict.verdict else ""
    return f'<span class="verdict {verdict.verdict}">{SIGNS[verdict.verdict]} {verdict.verdict}{alone}</span>'


def printed_tables(dossier: Dossier) -> str:
    """Each table; a number shows its trials when it is pressed."""
    parts = []
    for name, spec in dossier.spec.tables.items():
        try:
            made = tables.table(spec, dossier.records, dossier.folder)
        except SweepError as error:
            parts.append(f'<p class="partial">{escape(str(error))}</p>')
            continue
        shown, panels = with_origins(made, render(made, "html"), dossier)
        parts += [scrolling(spec.title or name, f'<div class="numbers">{shown}</div>'), panels]
    if parts:
        parts.insert(0, '<p class="hint">Press a number to see the trials behind it.</p>')
    return "\n".join(parts)


def figures(dossier: Dossier) -> str:
    """Each figure as SVG in the page, with its notes below."""
    from orchestrator.figures.files import inline

    parts = []
    for name, spec in dossier.spec.figures.items():
        parts.append(f"<h3>{escape(spec.title or name)}</h3>")
        try:
            made = chart(spec, dossier.source)
        except SweepError as error:
            parts.append(f'<p class="partial">{escape(str(error))}</p>')
            continue
        drawn = inline(replace(made, title="", notes=()), f"figure-{name}", spec.title or name)
        notes = f"<figcaption>{escape(' '.join(made.notes))}</figcaption>" if made.notes else ""
        parts.append(f"<figure>\n{scrolling(spec.title or name, drawn)}\n{notes}\n</figure>")
    return "\n".join(parts)
