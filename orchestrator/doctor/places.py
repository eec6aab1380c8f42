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
from orchestrator.storage.bucket import Bucket
from orchestrator.storage.writing import explain
from orchestrator.store import Store, is_remote

LEAST = 5 * 2**30  # bytes free: weights of a few hundred networks


@check
def store(patient: Patient) -> Iterator[Finding]:
    """Whether the store can be written, keeps what it was given, takes the hard links of leases, and has room."""
    if patient.store is None:
        return
    if is_remote(patient.store):
        yield _bucket(patient.store)
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


def _bucket(uri: str) -> Finding:
    """Whether a store in a bucket answers, is one of ours or new, and writes by condition."""
    try:
        bucket = Bucket.at(uri)
        probe = f"work/doctor-{uuid.uuid4().hex}"
        first, second = (bucket.create(probe, b"sweep doctor") for _ in range(2))
        bucket.remove(probe)
        Store.at(uri).refresh("sweeps")
    except StoreError as error:
        return Finding(f"store {error}", "credentials, region and endpoint are boto3's: AWS_*; docs/object-store.md")
    if first is None or second is not None:
        return Finding(f"store {uri}: writes over what it should not", "use a server that heeds If-None-Match: *")
    return Finding(f"store {uri}: answers, takes what is written, and only once")


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
