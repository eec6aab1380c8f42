"""What a bundle holds: the part of the store that a report needs, and everything printed from it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator import tables
from orchestrator.figures import charts
from orchestrator.figures.files import FORMATS
from orchestrator.figures.files import render as draw
from orchestrator.figures.source import NODE
from orchestrator.findings import origins
from orchestrator.findings.render import render
from orchestrator.findings.verdicts import render_verdicts
from orchestrator.report import answers
from orchestrator.report.build import report
from orchestrator.report.dossier import FACTS
from orchestrator.store import ARRAYS, OUTCOME, to_json

if TYPE_CHECKING:
    from orchestrator.report.dossier import Dossier

ENDINGS = {"text": "txt", "markdown": "md", "csv": "csv", "json": "json", "latex": "tex", "html": "html"}


def contents(dossier: Dossier) -> dict[str, bytes]:
    """Every file by its name in the bundle."""
    return dict([*_store(dossier), *_nodes(dossier), *_printed(dossier)])


def _store(dossier: Dossier) -> Iterator[tuple[str, bytes]]:
    store, name = dossier.store, dossier.name
    yield "store.json", (store.root / "store.json").read_bytes()
    for path in sorted(dossier.folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield f"sweeps/{name}/{path.name}", path.read_bytes()
    facts = {"fingerprints": dossier.fingerprints}
    yield f"sweeps/{name}/{FACTS}", json.dumps(facts, indent=1).encode()
    for paper in dossier.spec.papers:
        if (dossier.folder / paper).is_file():
            yield f"sweeps/{name}/{PurePosixPath(paper).as_posix()}", (dossier.folder / paper).read_bytes()
    records = store.records_folder(name)
    for path in sorted(records.rglob("*.parquet")):
        yield f"records/{name}/{path.relative_to(records).as_posix()}", path.read_bytes()


def _nodes(dossier: Dossier) -> Iterator[tuple[str, bytes]]:
    """The outcomes of all nodes; the arrays of those that figures draw; the failures."""
    lines = [to_json(dossier.outcomes[key]) + "\n" for key in sorted(dossier.outcomes)]
    yield "nodes/rows/bundle.jsonl", "".join(lines).encode()
    stages = {found[0] for figure in dossier.spec.figures.values() if (found := charts.inputs(figure))}
    keys = {key for stage in stages for key in dossier.source.column(f"{NODE}{stage}") if key in dossier.outcomes}
    for key in sorted(keys):
        folder = dossier.store.node_folder(key)
        if (outcome := dossier.outcomes[key]).folder:
            dossier.store.bring(outcome, {ARRAYS} & outcome.files.keys())
        for file in (OUTCOME, ARRAYS):
            if (folder / file).is_file():
                yield f"nodes/{key[:2]}/{key}/{file}", (folder / file).read_bytes()
    for key, failure in sorted(dossier.failures.items()):
        yield f"failed/{key}.json", json.dumps(asdict(failure), indent=1).encode()


def _printed(dossier: Dossier) -> Iterator[tuple[str, bytes]]:
    import pyarrow.parquet

    yield "report.html", report(dossier).encode()
    for name, spec in dossier.spec.tables.items():
        made = tables.table(spec, dossier.records, dossier.folder)
        for form, ending in ENDINGS.items():
            below = origins.comment(made, dossier.records) if form == "latex" else ""
            yield f"tables/{name}.{ending}", (render(made, form) + below).encode()
        sink = io.BytesIO()
        pyarrow.parquet.write_table(tables.to_arrow(made), sink)
        yield f"tables/{name}.parquet", sink.getvalue()
    for name, made in answers.charts(dossier).items():
        for form in FORMATS:
            yield f"figures/{name}.{form}", draw(made, form)
    found = answers.verdicts(dossier)
    if found:
        yield "claims.txt", (render_verdicts(found, "text") + "\n").encode()
        yield "claims.json", (render_verdicts(found, "json") + "\n").encode()
