"""Checks of a cluster: its nodes have one Ray, Python, torch and code, and all see the store."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.doctor.checks import Finding, Patient, check
from orchestrator.doctor.probe import describe
from orchestrator.doctor.tracking import holds_password
from orchestrator.errors import SweepError
from orchestrator.running.resources import refuse_unreachable
from orchestrator.store import is_remote

ANSWER_SECONDS = 180.0  # that a doctor on the head has
MEND = {
    "token": "RAY_AUTH_MODE and the token must be the same everywhere: deploy/hosts/hosts.sh up sees to that",
    "code": "bring the same checkout there, or `sweep submit`, which sends the code along",
}


@check
def cluster(patient: Patient) -> Iterator[Finding]:
    """What each node of the cluster says, beside what this machine says."""
    if patient.address is None:
        return
    try:
        if patient.address.startswith(("http://", "https://")):
            yield from _by_its_head(patient)
        else:
            refuse_unreachable(patient.address)
            yield from _by_its_nodes(patient)
    except SweepError as error:
        yield Finding(str(error), "start it, or name another; tokens: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH")


def _by_its_nodes(patient: Patient) -> Iterator[Finding]:
    from orchestrator.schedule import on_each_node

    store = None if patient.store is None or is_remote(patient.store) else Path(patient.store).expanduser().absolute()
    mark = f".doctor-{uuid.uuid4().hex}"
    if store is not None and store.is_dir():
        with suppress(OSError):
            (store / mark).write_text("seen by the node that reads this\n")
    else:
        store = None
    try:
        found = on_each_node(patient.address or "auto", describe, store and str(store), mark)
    finally:
        if store is not None:
            (store / mark).unlink(missing_ok=True)
    yield from compare(describe(None, None), found, store)


def compare(own: Mapping[str, Any], found: Mapping[str, Any], store: Path | None) -> Iterator[Finding]:
    """In what the nodes differ from this machine, and which do not see the store."""
    nodes = {place: said for place, said in found.items() if not isinstance(said, Exception)}
    for place, error in found.items():
        if isinstance(error, Exception):
            first = str(error).strip().splitlines()[-1:] or [""]
            yield Finding(f"node {place} does not answer: {type(error).__name__}: {first[0]}", "see Ray's logs there")
    for name, here in own["versions"].items():
        there = {place: said["versions"][name] for place, said in nodes.items()}
        others = {place: said for place, said in there.items() if said != here}
        if others:
            counts = Counter(others.values())
            shown = ", ".join(f"{said} on {_names(others, said)}" for said in counts)
            yield Finding(f"{name}: {here} here, {shown}", MEND.get(name, "install one version everywhere"))
        elif nodes:
            yield Finding(f"{name}: {here}, the same on {len(nodes)} nodes")
    for place, said in nodes.items():
        if store is not None and not (said["sees"] and said["writes"]):
            how = "cannot be written" if said["sees"] else "is another folder, or none"
            yield Finding(f"store {store}: {how} on node {place}", "share one folder with all machines under one path")
    if store is not None and nodes and all(said["sees"] and said["writes"] for said in nodes.values()):
        yield Finding(f"store {store}: all nodes see it")


def _names(others: Mapping[str, str], wanted: str) -> str:
    named = [place for place, said in others.items() if said == wanted]
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")


def _by_its_head(patient: Patient) -> Iterator[Finding]:
    """`sweep doctor --address auto` as a job there."""
    from orchestrator.cluster.archive import archive
    from orchestrator.cluster.jobs import JobServer
    from orchestrator.cluster.submitted import ENTRYPOINT
    from orchestrator.cluster.there import store_there

    server = JobServer(patient.address or "")
    server.refuse_another_version()
    options = ["--address=auto", "--json", *([f"--store={store_there(patient.store)}"] if patient.store else [])]
    options += [f"--data={patient.data.absolute()}"] if patient.data is not None else []
    if patient.tracking_uri is not None and not holds_password(patient.tracking_uri):
        options += [f"--tracking-uri={patient.tracking_uri}"]
    made = archive([], options, "doctor")
    id = f"doctor-{uuid.uuid4().hex[:12]}"
    server.submit(id, ENTRYPOINT, server.upload(made.name, made.content), {})
    text = server.wait(id, ANSWER_SECONDS)
    for line in reversed(text.splitlines()):
        with suppress(ValueError, TypeError):
            for found in json.loads(line):
                yield Finding(found["what"], found["mend"], found["host"] or "head", found["check"])
            return
    yield Finding(f"the head's doctor says nothing: {(text.strip().splitlines() or [''])[-1]}", "see Ray's logs there")
