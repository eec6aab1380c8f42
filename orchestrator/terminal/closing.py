"""What `sweep run` says at its end: what ran, the tables, the claims, and where all of it lies."""

from __future__ import annotations

from typing import Any

from orchestrator import record, tables
from orchestrator.claims import judge_all
from orchestrator.findings.render import render
from orchestrator.findings.verdicts import render_verdicts
from orchestrator.plan import Plan
from orchestrator.run import Summary
from orchestrator.store import Store
from orchestrator.terminal.failures import debug_command
from orchestrator.terminal.tally import Tally
from orchestrator.terminal.wording import duration, store_option

ERRORS = 5  # distinct errors shown; the records have all


def closing(plan: Plan, store: Store, summary: Summary, tally: Tally, now: float) -> str:
    """The text after the progress, at `now` in unix seconds; a pure function of its arguments and the records."""
    name = plan.spec.record_name
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    trials = sum(summary.statuses.values())
    parts = [
        f"{name}: {summary.executed} nodes executed, {summary.reused} reused; {trials} trials: {statuses}\n"
        + spent_text(tally, now)
    ]
    parts += [_errors(summary, plan, store, tally)] if summary.errors else []
    parts += [_damages(summary, store)] if summary.damaged else []
    records = record.read(store.records_folder(name))
    parts += [
        render(tables.table(spec, records, plan.spec.document.path.parent), "text").rstrip("\n")
        for spec in plan.spec.tables.values()
    ]
    if plan.spec.claims:
        parts.append(render_verdicts(judge_all(plan.spec.claims.values(), records), "text"))
    parts.append(_places(store, name, summary))
    return "\n\n".join(parts)


def spent_text(tally: Tally, now: float) -> str:
    """Wall time, and the hours of work of the nodes that were computed."""
    hours = [f"{seconds / 3600:.3g} {kind.upper()}-hours" for kind, seconds in tally.spent.items() if seconds > 0]
    return "; ".join([f"wall time {duration(max(0.0, now - tally.started))}", *hours])


def _errors(summary: Summary, plan: Plan, store: Store, tally: Tally) -> str:
    shown = sorted(summary.errors.items(), key=lambda item: -item[1])
    keys = {error: key for key, error in tally.failed.items()}
    lines = []
    for error, count in shown[:ERRORS]:
        lines.append(f"  {count} x {error}")
        if key := next((key for text, key in keys.items() if error.endswith(text)), None):
            lines.append(f"      {debug_command(plan, key, store)}")
    if len(shown) > ERRORS:
        lines.append(f"  and {len(shown) - ERRORS} more kinds")
    tracebacks = f"  tracebacks: sweep logs {plan.spec.record_name}{store_option(store)} --trial KEY"
    return "\n".join(["What failed (run again to try once more):", *lines, tracebacks])


def _damages(summary: Summary, store: Store) -> str:
    lines = [f"  {label}: {error}" for label, error in sorted(summary.damaged.items())]
    return "\n".join([f"Damaged, computed again, and kept in {store.uri}/damaged:", *lines])


def closing_fields(plan: Plan, store: Store, summary: Summary, tally: Tally) -> dict[str, Any]:
    """What `closing` says, for programs: the last of the JSON lines; tables are in the report and the records."""
    name = plan.spec.record_name
    claims = judge_all(plan.spec.claims.values(), record.read(store.records_folder(name))) if plan.spec.claims else []
    return {
        "statuses": summary.statuses,
        "executed": summary.executed,
        "reused": summary.reused,
        "errors": summary.errors,
        "damaged": summary.damaged,
        "hours": {kind: seconds / 3600 for kind, seconds in tally.spent.items()},
        "claims": {verdict.name: verdict.verdict for verdict in claims},
        "records": str(store.records_folder(name) / "trials.parquet"),
        "report": summary.report and str(summary.report),
        "log": str(store.sweep_folder(name) / "run.log"),
        "mlflow": summary.page or None,
        "unsent": summary.unsent,
    }


def _places(store: Store, name: str, summary: Summary) -> str:
    where = store_option(store)
    lines = [
        f"Records   {store.records_folder(name) / 'trials.parquet'}",
        f"Table     sweep table {name}{where} --format latex",
        f"Report    {summary.report or f'sweep report {name}{where}'}",
    ]
    if summary.unmade:
        lines.append(f"          {summary.unmade}; sweep sync{where} shows in MLflow what is made later")
    lines += [
        f"Log       {store.sweep_folder(name) / 'run.log'}",
        f"MLflow    {summary.page or f'sweep ui{where} (prints its address)'}",
    ]
    if summary.unsent:
        lines.append(f"MLflow has not got {summary.unsent} operations yet: sweep sync{where}")
    return "\n".join(lines)
