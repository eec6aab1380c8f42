"""What `sweep run` says at its end: what ran, the tables, the claims, and where all of it lies."""

from __future__ import annotations

import shlex
from pathlib import Path

from orchestrator import record, tables
from orchestrator.claims import judge_all
from orchestrator.plan import Plan
from orchestrator.results.render import render
from orchestrator.results.verdicts import render_verdicts
from orchestrator.run import Summary
from orchestrator.store import Store

ERRORS = 5  # distinct errors shown; the records have all


def closing(plan: Plan, store: Store, summary: Summary) -> str:
    """The text after the progress; a pure function of its arguments and the records."""
    name = plan.spec.record_name
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    trials = sum(summary.statuses.values())
    parts = [f"{name}: {summary.executed} nodes executed, {summary.reused} reused; {trials} trials: {statuses}"]
    parts += [_errors(summary)] if summary.errors else []
    parts += [_damages(summary, store)] if summary.damaged else []
    records = record.read(store.records_folder(name))
    parts += [
        render(tables.table(spec, records, plan.spec.document.path.parent), "text").rstrip("\n")
        for spec in plan.spec.tables.values()
    ]
    if plan.spec.claims:
        parts.append(render_verdicts(judge_all(plan.spec.claims.values(), records), "text"))
    parts.append(_places(store, name, summary.unsent))
    return "\n\n".join(parts)


def _errors(summary: Summary) -> str:
    shown = sorted(summary.errors.items(), key=lambda item: -item[1])
    lines = [f"  {count} x {error}" for error, count in shown[:ERRORS]]
    if len(shown) > ERRORS:
        lines.append(f"  and {len(shown) - ERRORS} more kinds")
    return "\n".join(["What failed (run again to try once more; tracebacks are in failed/ of the store):", *lines])


def _damages(summary: Summary, store: Store) -> str:
    lines = [f"  {label}: {error}" for label, error in sorted(summary.damaged.items())]
    return "\n".join([f"Damaged, computed again, and kept in {store.root / 'damaged'}:", *lines])


def _places(store: Store, name: str, unsent: int) -> str:
    where = "" if store.root == Path("runs").absolute() else f" --store {shlex.quote(str(store.root))}"
    lines = [
        f"Records   {store.records_folder(name) / 'trials.parquet'}",
        f"Table     sweep table {name}{where} --format latex",
        f"Report    sweep report {name}{where}",
        f"MLflow    sweep ui{where}",
    ]
    if unsent:
        lines.append(f"MLflow has not got {unsent} operations yet: sweep sync{where}")
    return "\n".join(lines)
