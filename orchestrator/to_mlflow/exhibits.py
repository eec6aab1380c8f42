"""What the run above the others shows when a sweep has ended: its file, plan and log, tables, claims, figures, report.

Figures and report are made then, where `sweep figures` and `sweep report` put them. Whatever goes wrong with them, the
rest is shown, and the sweep is no failure for it.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import record, tables
from orchestrator.claims import judge_all
from orchestrator.commands.request import saved_spec
from orchestrator.findings.render import render
from orchestrator.findings.verdicts import render_verdicts
from orchestrator.plan import Plan
from orchestrator.storage.writing import write_atomically
from orchestrator.store import Store

TEXTS = {"text": "txt", "markdown": "md", "csv": "csv"}
WHOLE = ("spec.yaml", "plan.json", "run.log")
REPORT = "report/index.html"
FOLDERS = ("report", "figures")
LARGE = 20_000  # trials; of more, making figures and a report takes too long to be done unasked


@dataclass
class Exhibits:
    """Makes what there is to show of a sweep when it is called.

    Attributes:
        report: The page that it made.
        unmade: Why it made none, in a line.
    """

    plan: Plan
    store: Store
    data_dir: Path
    report: Path | None = field(default=None, init=False)
    unmade: str = field(default="", init=False)

    def __call__(self) -> dict[str, Any]:
        """`files` and `texts` by name, as the operation `artifacts` has them."""
        folder = self.store.sweep_folder(self.plan.spec.record_name)
        made = [folder / name for name in WHOLE] + self._make(folder)
        files = {path.relative_to(folder).as_posix(): str(path) for path in made if path.is_file()}
        try:
            texts = _printed(self.plan, self.store)
        except Exception as error:
            texts = {"tables/error.txt": f"{type(error).__name__}: {error}\n"}
        return {"files": files, "texts": texts}

    def _make(self, folder: Path) -> list[Path]:
        """The figures and the report, as files."""
        if (count := len(self.plan.trials)) > LARGE:
            self.unmade = f"not made of {count} trials (more than {LARGE})"
            return []
        made: list[Path] = []
        for name, make in _makers(self.store, self.plan.spec.record_name, self.data_dir).items():
            try:
                write_atomically(folder / name, make())
                made.append(folder / name)
            except Exception as error:
                traceback.print_exc(file=sys.stderr)  # to the run's log
                self.unmade = self.unmade or f"{name} was not made: {type(error).__name__}: {error}".splitlines()[0]
        self.report = folder / REPORT if folder / REPORT in made else None
        self.store.publish(folder)
        return made


def _makers(store: Store, name: str, data_dir: Path) -> dict[str, Callable[[], str | bytes]]:
    """By name in the sweep's folder, what makes a figure and the report as the commands of that name would."""
    from orchestrator.figures.charts import chart
    from orchestrator.figures.files import render as draw
    from orchestrator.report.build import report
    from orchestrator.report.dossier import Dossier

    dossier = Dossier.of(store, name, saved_spec(store, name), data_dir)
    figures = {
        f"figures/{figure}.svg": partial(lambda spec: draw(chart(spec, dossier.source), "svg"), spec)
        for figure, spec in dossier.spec.figures.items()
    }
    return {REPORT: partial(report, dossier), **figures}


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


def made_later(folder: Path, shown: Mapping[str, str]) -> dict[str, str]:
    """The paths, by name, of figures and reports in a sweep's folder that are not, as they are, among those `shown`."""
    found = [path for name in FOLDERS for path in sorted((folder / name).rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): str(path) for path in found}
    return {name: files[name] for name, digest in digests(files).items() if shown.get(name) != digest}


def digests(files: Mapping[str, str]) -> dict[str, str]:
    """What identifies the content of each figure and report among files by name."""
    return {
        name: hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for name, path in files.items()
        if name.partition("/")[0] in FOLDERS
    }
