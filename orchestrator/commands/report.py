"""`sweep figures` and `sweep report`: what a reader takes away, as files."""

from __future__ import annotations

import os
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

from orchestrator.commands.request import data_dir, saved_spec
from orchestrator.errors import NotFound, SweepError, allowed
from orchestrator.report.bundle import is_bundle, opened, pack
from orchestrator.report.dossier import Dossier
from orchestrator.storage.writing import write_atomically
from orchestrator.store import Store


def figures_command(request: Namespace) -> int:
    """`sweep figures`: the figures of a sweep, a file each; prints their paths."""
    from orchestrator.figures.charts import chart
    from orchestrator.figures.files import render

    with opened(request.name, request.store) as (store, name):
        dossier = _dossier(store, name, request)
        known = dossier.spec.figures
        if request.figure is not None and request.figure not in known:
            raise NotFound(f"{name} has no figure {request.figure!r}; {allowed(request.figure, known)}")
        if not known:
            raise NotFound(f"{name} has no figures: its file has no `figures:`")
        folder = request.output or (Path() if is_bundle(request.name) else dossier.folder / "figures")
        for figure in [request.figure] if request.figure else known:
            content = render(chart(known[figure], dossier.source), request.format)
            _write(folder / f"{figure}.{request.format}", content)
        store.publish(dossier.folder)
    return 0


def report_command(request: Namespace) -> int:
    """`sweep report`: one page a sweep; of several sweeps an index too; or a bundle that holds all of it."""
    from orchestrator.report.build import overview, report

    if request.bundle is not None and len(request.names) != 1:
        raise SweepError(f"--bundle packs one sweep; got {len(request.names)}")
    with ExitStack() as stack:
        dossiers = []
        for given in request.names:
            store, name = stack.enter_context(opened(given, request.store))
            dossiers.append(_dossier(store, name, request))
        if request.bundle is not None:
            pack(dossiers[0], request.bundle)
            print(request.bundle)
            return 0
        pages = _places(request, dossiers)
        for dossier, path in zip(dossiers, pages, strict=True):
            _write(path, report(dossier))
            dossier.store.publish(dossier.folder)
        if len(dossiers) > 1:
            index = (request.output or dossiers[0].store.root / "report") / "index.html"
            links = [Path(os.path.relpath(path, index.parent)).as_posix() for path in pages]
            _write(index, overview(list(zip(dossiers, links, strict=True))))
    return 0


def _dossier(store: Store, name: str, request: Namespace) -> Dossier:
    return Dossier.of(store, name, saved_spec(store, name), data_dir(request))


def _places(request: Namespace, dossiers: list[Dossier]) -> list[Path]:
    """Where each report goes: in the store, or where `--output` says."""
    if len(dossiers) == 1:
        found = dossiers[0].folder / "report" / "index.html"
        return [request.output or (Path(f"{dossiers[0].name}.html") if is_bundle(request.names[0]) else found)]
    names = [dossier.name for dossier in dossiers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SweepError(f"two of these are named {', '.join(twice)}")
    if request.output is not None:
        return [request.output / f"{name}.html" for name in names]
    if packed := [name for name in request.names if is_bundle(name)]:
        raise SweepError(f"{packed[0]} is a bundle: say with --output DIR where the pages go")
    return [dossier.folder / "report" / "index.html" for dossier in dossiers]


def _write(path: Path, content: str | bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise SweepError(f"--output {path}: {error.strerror or error}") from error
    print(path)
