"""What the run above the others shows when a sweep has ended: its file, its plan, its log, tables, claims, report."""

from __future__ import annotations

from typing import Any

from orchestrator import record, tables
from orchestrator.claims import judge_all
from orchestrator.findings.render import render
from orchestrator.findings.verdicts import render_verdicts
from orchestrator.plan import Plan
from orchestrator.store import Store

TEXTS = {"text": "txt", "markdown": "md", "csv": "csv"}
WHOLE = ("spec.yaml", "plan.json", "run.log")
FOLDERS = ("report", "figures")


def exhibits(plan: Plan, store: Store) -> dict[str, Any]:
    """`files` and `texts` by name, as the operation `artifacts` has them."""
    folder = store.sweep_folder(plan.spec.record_name)
    found = [folder / name for name in WHOLE]
    found += [path for name in FOLDERS for path in sorted((folder / name).rglob("*"))]
    files = {path.relative_to(folder).as_posix(): str(path) for path in found if path.is_file()}
    try:
        texts = _printed(plan, store)
    except Exception as error:  # whatever is wrong with a table, the rest is shown, and the run is no failure
        texts = {"tables/error.txt": f"{type(error).__name__}: {error}\n"}
    return {"files": files, "texts": texts}


def _printed(plan: Plan, store: Store) -> dict[str, str]:
    records = record.read(store.records_folder(plan.spec.record_name))
    texts: dict[str, str] = {}
    for name, spec in plan.spec.tables.items():
        made = tables.table(spec, records, plan.spec.document.path.parent)
        for form, ending in TEXTS.items():
            texts[f"tables/{name}.{ending}"] = render(made, form)
    if plan.spec.claims:
        verdicts = judge_all(plan.spec.claims.values(), records)
        texts["claims.txt"] = render_verdicts(verdicts, "text") + "\n"
    return texts
