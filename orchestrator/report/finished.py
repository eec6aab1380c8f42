"""The report and the figures of a sweep as its driver makes them at the end, where `sweep report` and `figures` do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.report.dossier import Dossier
from orchestrator.storage.writing import NotWritable, write_atomically

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec
    from orchestrator.store import Store

MOST = 5000  # trials: the page of so many takes a few seconds and a megabyte
FORMAT = "svg"


def make(spec: SweepSpec, store: Store, data_dir: Path) -> str:
    """Write them; why they are not there, "" if they are.

    A figure that cannot be drawn keeps nothing else from being shown, and is no failure of the run.

    Raises:
        NotWritable: the store takes nothing any more.
    """
    try:
        dossier = Dossier.of(store, spec.record_name, spec, data_dir)
        if dossier.records.num_rows > MOST:
            return (
                f"{dossier.records.num_rows} trials are more than {MOST}: `sweep report {spec.record_name}` makes it\n"
            )
        return _write(dossier)
    except NotWritable:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}\n"


def _write(dossier: Dossier) -> str:
    from orchestrator.report.build import report

    wrong = []
    if dossier.spec.figures:
        from orchestrator.figures.charts import chart
        from orchestrator.figures.files import render

        for name, figure in dossier.spec.figures.items():
            try:
                drawn = render(chart(figure, dossier.source), FORMAT)
            except Exception as error:
                wrong.append(f"figure {name}: {type(error).__name__}: {error}\n")
            else:
                write_atomically(dossier.folder / "figures" / f"{name}.{FORMAT}", drawn)
    write_atomically(dossier.folder / "report" / "index.html", report(dossier))
    dossier.store.publish(dossier.folder)
    return "".join(wrong)
