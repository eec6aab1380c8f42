"""`sweep submit`, and `status`, `logs` and `stop` of what was submitted."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cluster.archive import Archive, archive
from orchestrator.cluster.jobs import Job, JobServer
from orchestrator.cluster.submitted import ENTRYPOINT
from orchestrator.cluster.there import store_there
from orchestrator.commands.request import data_dir, planned, refuse_equal_names
from orchestrator.errors import NotFound, SweepError, allowed
from orchestrator.planning.outlook import missing_data
from orchestrator.running.resources import label
from orchestrator.storage.leases import user_here
from orchestrator.store import Store

FOLLOW_SECONDS = 2.0
STOP_SECONDS = 60.0
STATES = {
    "PENDING": "is about to start",
    "RUNNING": "runs",
    "SUCCEEDED": "is done",
    "FAILED": "has failed",
    "STOPPED": "was stopped",
}


def submit_command(request: Namespace) -> int:
    """`sweep submit`: sends the specs and the code as they are now, starts the driver there, and returns."""
    from orchestrator.tracking import target

    plans = [planned(path, request) for path in request.specs]
    refuse_equal_names(plans)
    store = store_there(request.store)
    for text in request.on:
        label(text)  # refuses what is none
    target(Store(Path(store)), request.tracking_uri)  # refuses one that holds a password
    server = JobServer(request.address)
    server.refuse_another_version()
    made = archive(plans, _options(request, store))
    names = [plan.spec.record_name for plan in plans]
    before = _running(server, names, store)
    mine = [job for job in before if job.metadata.get("identity") == made.identity]
    if before and not mine:
        both = next(name for name in names if name in _sweeps(before[-1]))
        again = shlex.join(["sweep", "stop", both, "--address", server.address])
        raise SweepError(f"{before[-1].id}: runs {_of(before[-1])} already, with other code or options; first: {again}")
    id = mine[-1].id if mine else _start(server, made, names, store)
    print(f"{', '.join(names)}: {'runs already' if mine else 'submitted'} as {id}, store {store}")
    for sentence in dict.fromkeys(text for plan in plans for text in missing_data(plan, frozenset(plan.nodes))):
        print(f"  not here, so it must be there: {sentence}")
    for command in ("status", "logs", "stop"):
        print(f"  {shlex.join(['sweep', command, names[0], '--address', server.address])}")
    return 0


def _options(request: Namespace, store: str) -> list[str]:
    """The options of `sweep run` on the cluster; each is one word, whatever it begins with."""
    data = data_dir(request)
    given: dict[str, object] = {
        "scale": request.scale,
        "limit": request.limit,
        "store": store,
        "data": data.absolute() if request.data or "SWEEP_DATA" in os.environ or data.is_dir() else None,
        "jobs": request.jobs,
        "gpus": request.gpus or None,
        "array": request.array,
        "tracking-uri": request.tracking_uri,
        "address": "auto",
    }
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    options += [*(f"--set={text}" for text in request.set), *(f"--on={text}" for text in request.on)]
    return [*options, "--yes", "--plain"]


def _start(server: JobServer, made: Archive, names: Sequence[str], store: str) -> str:
    """Submit it under the first number that is free; one who does the same at this moment gets the same number."""
    package = server.upload(made.name, made.content)
    taken = {job.id: job for job in server.jobs()}
    base = f"{re.sub('[^A-Za-z0-9._-]', '-', names[0])[:60]}-{made.identity[:16]}"
    number = 1
    while (job := taken.get(id := f"{base}-{number}")) is not None and job.over:
        number += 1
    metadata = {
        "sweeps": json.dumps(list(names)),
        "store": store,
        "identity": made.identity,
        "archive": made.name,
        "by": user_here(),
    }
    server.submit(id, ENTRYPOINT, package, metadata)
    return id


def _sweeps(job: Job) -> list[str]:
    """The names of the sweeps that a job runs; none if it is not one of ours."""
    try:
        found = json.loads(job.metadata.get("sweeps", "[]"))
    except ValueError:
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _of(job: Job) -> str:
    return ", ".join(_sweeps(job))


def _running(server: JobServer, names: Sequence[str], store: str) -> list[Job]:
    """The jobs that run one of these sweeps into this store now."""
    return [
        job
        for job in server.jobs()
        if not job.over and job.metadata.get("store") == store and {*_sweeps(job)}.intersection(names)
    ]


def _latest(server: JobServer, name: str | None) -> dict[str, Job]:
    """The latest job of each sweep, or of the one that is named; one that runs counts before any that is over."""
    found = {sweep: job for job in sorted(server.jobs(), key=lambda job: not job.over) for sweep in _sweeps(job)}
    if name is None:
        return found
    if name not in found:
        raise NotFound(f"--address {server.address}: no sweep {name!r} was submitted there; {allowed(name, found)}")
    return {name: found[name]}


def job_status(request: Namespace) -> int:
    """`sweep status --address`: the job, the last that it said, and the store where this machine sees it."""
    server = JobServer(request.address)
    told: dict[str, str] = {}
    while True:
        jobs = _latest(server, request.name)
        if not jobs:
            print(f"no sweep was submitted to {server.address}")
        for name, job in jobs.items():
            text = _described(server, name, job)
            if told.get(name) != text:
                print(text, flush=True)
            told[name] = text
        if not request.follow or all(job.over for job in jobs.values()):
            return 0
        time.sleep(FOLLOW_SECONDS)


def _described(server: JobServer, name: str, job: Job) -> str:
    started = "" if job.start is None else time.strftime(", started %Y-%m-%d %H:%M:%S", time.localtime(job.start))
    lines = [f"{name}: {STATES.get(job.status, job.status)} as {job.id}{started}, store {job.metadata.get('store')}"]
    said = [line for line in server.logs(job.id).splitlines() if line.strip()] if job.start is not None else []
    if said:
        lines.append(f"  {said[-1].strip()}")
    elif job.status == "FAILED" and job.message:
        lines.append(f"  {job.message.strip().splitlines()[0]}")
    return "\n".join(lines)


def job_logs(request: Namespace) -> int:
    """`sweep logs --address`: what the latest job of a sweep has written."""
    if request.trial is not None:
        raise SweepError("--trial looks into the store: it goes with --store, not with --address")
    server = JobServer(request.address)
    job = _latest(server, request.name)[request.name]
    print(f"{job.id}:")
    sys.stdout.write(server.logs(job.id))
    if job.status == "FAILED":
        print(f"\n{job.message}")
    return 0


def job_stop(request: Namespace) -> int:
    """`sweep stop --address`: asks the job of a sweep to stop, and waits; exit code 1 if it goes on."""
    server = JobServer(request.address)
    job = _latest(server, request.name)[request.name]
    if job.over:
        print(f"{request.name} is not running: {job.id} {STATES[job.status]}")
        return 0
    server.stop(job.id)
    print(f"asked {job.id} to stop", flush=True)
    until = time.monotonic() + STOP_SECONDS
    while not _latest(server, request.name)[request.name].over:
        if time.monotonic() > until:
            print(f"{job.id} has not stopped in {STOP_SECONDS:.0f} s", file=sys.stderr)
            return 1
        time.sleep(0.5)
    print(f"{job.id} has stopped; what is finished is kept")
    return 0
