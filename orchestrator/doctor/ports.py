"""Checks of what listens on this machine: Ray and MLflow run, or show, what they are asked by whoever reaches them."""

from __future__ import annotations

import http.client
import ipaddress
from collections.abc import Iterator
from contextlib import suppress

import psutil

from orchestrator.doctor.checks import Finding, Patient, check

RAY = ("raylet", "gcs_server", "ray::", "ray/dashboard", "ray/util/client/server", "ray start")
MLFLOW = ("mlflow",)
RAY_MEND = (
    "start it with RAY_AUTH_MODE=token, or behind a firewall: without a token whoever reaches it runs what he likes"
)
MLFLOW_MEND = "deploy/mlflow/mlflow.sh serves on loopback with passwords; or --host 127.0.0.1, or --app-name basic-auth"
TIMEOUT = 5.0


@check
def open_ports(patient: Patient) -> Iterator[Finding]:
    """The ports of Ray and MLflow that other machines can reach, and whether they ask who calls."""
    seen: set[tuple[str, int]] = set()
    reached, guarded = 0, 0
    for found in psutil.net_connections("tcp"):
        if found.status != psutil.CONN_LISTEN or not found.laddr or found.pid is None:
            continue
        place = (str(found.laddr[0]), int(found.laddr[1]))
        if place in seen or ipaddress.ip_address(place[0].split("%")[0]).is_loopback:
            continue
        seen.add(place)
        with suppress(psutil.Error):
            process = psutil.Process(found.pid)
            whose = owner(process)
            if whose:
                reached += 1
                if is_guarded(process, whose, place):
                    guarded += 1
                else:
                    mend = RAY_MEND if whose == "Ray" else MLFLOW_MEND
                    text = f"{whose}, process {found.pid}, is open to other machines at {place[0]}:{place[1]}"
                    yield Finding(f"{text} and asks nobody who calls", mend)
    if not reached:
        yield Finding("no port of Ray or MLflow is open to other machines")
    elif guarded == reached:
        yield Finding(f"{reached} ports of Ray and MLflow are open to other machines; all ask for a token or password")


def owner(process: psutil.Process) -> str:
    """`Ray`, `MLflow`, or "" for a process of neither, by its command line."""
    words = process.cmdline()[:6]
    line = " ".join(words)
    if any(word in line for word in RAY):
        return "Ray"
    return "MLflow" if any(word in line for word in MLFLOW) else ""


def is_guarded(process: psutil.Process, whose: str, place: tuple[str, int]) -> bool:
    """Whether it asks who calls: what speaks HTTP is asked something, of the rest the environment says it."""
    host = "127.0.0.1" if ipaddress.ip_address(place[0]).is_unspecified else place[0]
    path = "/api/jobs/" if whose == "Ray" else "/api/2.0/mlflow/experiments/search?max_results=1"
    status = ask(host, place[1], path)
    if status is not None:
        return status in (401, 403) or (whose == "Ray" and status == 404 and _has_token(process))
    return whose == "Ray" and _has_token(process)


def _has_token(process: psutil.Process) -> bool:
    """A process of another user cannot be looked into: it is not said to be guarded."""
    with suppress(psutil.Error):
        return process.environ().get("RAY_AUTH_MODE", "").lower() == "token"
    return False


def ask(host: str, port: int, path: str) -> int | None:
    """The status of an HTTP request without a token or password; None where nothing answers in HTTP."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
