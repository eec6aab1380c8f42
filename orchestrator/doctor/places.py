"""Checks of folders: the store and the data sets."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.doctor.checks import Finding, Patient, check
from orchestrator.errors import StoreError
from orchestrator.storage.writing import explain
from orchestrator.store import Store

LEAST = 5 * 2**30  # bytes free: weights of a few hundred networks


@check
def store(patient: Patient) -> Iterator[Finding]:
    """Whether the store can be written, keeps what it was given, takes the hard links of leases, and has room."""
    if patient.store is None or "://" in patient.store:
        return
    root = Path(patient.store).expanduser().absolute()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    probe, link = (there / f".doctor-{uuid.uuid4().hex}{ending}" for ending in ("", ".link"))
    written = b"sweep doctor\n" * 1000
    try:
        probe.write_bytes(written)
        os.link(probe, link)
        if link.read_bytes() != written:
            yield Finding(f"store {root}: reads otherwise than it was written", "use another disk")
            return
    except OSError as error:
        what, _, mend = explain(root, error.errno or 0).partition("; ")
        linked = "; claims are hard links: put the store where these can be made" if probe.exists() else ""
        yield Finding(f"store {what}", f"{mend or 'name a folder'}{linked}")
        return
    finally:
        for path in (probe, link):
            with suppress(OSError):
                path.unlink()
    try:
        Store.at(root)
    except StoreError as error:
        yield Finding(str(error), "name another folder")
    free = shutil.disk_usage(there).free
    text = f"store {root}: writable, {free / 2**30:.1f} GB free"
    yield Finding(
        text, "" if free >= LEAST else "free space, or `sweep gc`: a sweep stops where nothing can be written"
    )


@check
def data_sets(patient: Patient) -> Iterator[Finding]:
    """The data sets of the folder, their checksums too."""
    if patient.data is None:
        return
    from workloads.datasets.check import check as look
    from workloads.datasets.check import names

    if not patient.data.is_dir():
        yield Finding(f"data {patient.data}: no such folder", "name it with --data or SWEEP_DATA")
        return
    for name in names():
        state = look(name, patient.data)
        text = f"data set {name}: {state.says}"
        yield Finding(text, "" if state.ready else "put it there, if your sweeps need it")
