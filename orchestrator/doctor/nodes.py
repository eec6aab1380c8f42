"""Checks of a cluster: its nodes have one Ray, Python, torch and code, what they need, and all see store and data."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.doctor.checks import Finding, Patient, check
from orchestrator.doctor.machine import DRIVER
from orchestrator.doctor.probe import describe
from orchestrator.doctor.tracking import holds_password
from orchestrator.errors import SweepError
from orchestrator.running.resources import refuse_unreachable
from orchestrator.store import is_remote

ANSWER_SECONDS = 180.0  # that a doctor on the head has
LEAST = 2**30  # bytes free where Ray writes its logs and what does not fit into memory
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

    store = patient.store
    folder = None if store is None or is_remote(store) else Path(store).expanduser().absolute()
    mark = f".doctor-{uuid.uuid4().hex}"
    if folder is not None and folder.is_dir():
        with suppress(OSError):
            (folder / mark).write_text("seen by the node that reads this\n")
    else:
        folder = None
    data = None if patient.data is None else str(patient.data.absolute())
    asked = store if store is not None and is_remote(store) else folder and str(folder)
    try:
        found = on_each_node(patient.address or "auto", describe, asked, folder and mark, data)
    finally:
        if folder is not None:
            (folder / mark).unlink(missing_ok=True)
    yield from compare(describe(None, None), found, asked, data)


def compare(
    own: Mapping[str, Any], found: Mapping[str, Any], store: str | None, data: str | None = None
) -> Iterator[Finding]:
    """In what the nodes differ from this machine, what they lack, and which do not see the store or the data."""
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
    lacking = [item for place, said in nodes.items() for item in _lacking(place, said)]
    unseen = [item for place, said in nodes.items() for item in _unseen(place, said, store, data)]
    yield from [*lacking, *unseen]
    if nodes and store is not None and not any(item.what.startswith("store ") for item in unseen):
        yield Finding(f"store {store}: all nodes see it")


def _lacking(place: str, said: Mapping[str, Any]) -> Iterator[Finding]:
    """What a node needs, whatever runs on it."""
    if said["cards"]:
        yield Finding(f"node {place}: {said['cards']} NVIDIA GPUs without a driver", DRIVER)
    if said["free"] < LEAST:
        room = f"{said['free'] / 2**30:.1f} GB free in {said['temporary']}, where Ray writes"
        yield Finding(f"node {place}: {room}", "free space there: Ray ends what it cannot write for")


def _unseen(place: str, said: Mapping[str, Any], store: str | None, data: str | None) -> Iterator[Finding]:
    """What a node does not see of what it would be given."""
    if said["bucket"]:
        mend = "the AWS_* that are set here must be set there, and boto3 installed: docs/object-store.md"
        why = said["bucket"].removeprefix(f"--store {store}").lstrip(" :")
        yield Finding(f"store {store}: cannot be used from node {place}: {why}", mend)
    elif said["sees"] is not None and not (said["sees"] and said["writes"]):
        how = "cannot be written" if said["sees"] else "is another folder, or none"
        yield Finding(f"store {store}: {how} on node {place}", "share one folder with all machines under one path")
    if said["data"] is False:
        yield Finding(f"data {data}: no such folder on node {place}", "share it with all machines under one path")


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
