"""The report of one sweep, and the index over several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.report import answers, background
from orchestrator.report.page import escape, page, table, text, words

if TYPE_CHECKING:
    from orchestrator.claims import Verdict
    from orchestrator.report.dossier import Dossier


def report(dossier: Dossier) -> str:
    """The whole report as one page; equal records give equal bytes."""
    found = answers.verdicts(dossier)
    sections = (
        ("question", "Question", answers.question(dossier)),
        ("claims", "Claims", answers.claims(dossier, found)),
        ("tables", "Tables", answers.printed_tables(dossier)),
        ("figures", "Figures", answers.figures(dossier)),
        ("setup", "Set-up", background.setup(dossier)),
        ("trials", "Trials", background.trials(dossier)),
        ("cost", "Cost", background.cost(dossier)),
        ("failures", "Failures", background.failures(dossier)),
        ("provenance", "Provenance", background.provenance(dossier)),
        ("reproduce", "To reproduce", background.reproduce(dossier)),
    )
    return page(dossier.spec.title or dossier.name, sections, answers.head(dossier))


def overview(entries: Sequence[tuple[Dossier, str]]) -> str:
    """Every claim of several sweeps on one page; an entry is a sweep and the link to its report."""
    judged = [(dossier, link, answers.verdicts(dossier)) for dossier, link in entries]
    counts = Counter(verdict.verdict for *_, found in judged for verdict in found)
    total = sum(counts.values())
    said = ", ".join(f"{counts[name]} {name}" for name in ("supported", "refuted", "undecided"))
    if alone := sum(verdict.adjusted != verdict.verdict for *_, found in judged for verdict in found):
        said += f"; {alone} of them alone, and not after Holm's correction for all claims of their sweep"
    sections = (
        ("claims", "Claims", _claims(judged)),
        ("sweeps", "Sweeps", _sweeps(judged)),
    )
    title = f"{len(entries)} sweeps, {total} claims"
    return page(title, sections, text(f"{said}." if total else "No claims."))


_Judged = Sequence[tuple["Dossier", str, "list[Verdict]"]]


def _claims(judged: _Judged) -> str:
    rows = [
        [
            answers.verdict_text(verdict),
            f"{escape(verdict.says)} <span class='faint'>{escape(verdict.criterion)}</span>",
            escape(f"{verdict.found}, n\u00a0=\u00a0{verdict.n}"),
            f'<a href="{escape(link)}#claims">{escape(dossier.name)}</a>{" (partial)" if dossier.partial else ""}',
        ]
        for dossier, link, found in judged
        for verdict in found
    ]
    shown = table("Every claim with its verdict", ["verdict", "claim", "found", "sweep"], rows)
    return words(shown) if rows else ""


def _sweeps(judged: _Judged) -> str:
    rows = [
        [
            f'<a href="{escape(link)}">{escape(dossier.spec.title or dossier.name)}</a>',
            f"<code>{escape(dossier.name)}</code>",
            escape(answers.source_text(dossier.spec.source)),
            escape(f"partial: {dossier.partial}" if dossier.partial else f"{dossier.trials} trials"),
            str(len(found)),
        ]
        for dossier, link, found in judged
    ]
    return words(table("The sweeps", ["report", "name", "source", "state", "claims"], rows))
