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
ASKED = {"Ray": "/api/jobs/", "MLflow": "/api/2.0/mlflow/experiments/search?max_results=1"}
METRICS = "version=0.0.4"  # of Prometheus' text
TIMEOUT = 5.0
SHOWN = 10  # ports in one line


@check
def open_ports(patient: Patient) -> Iterator[Finding]:
    """The ports of Ray and MLflow that other machines can reach, and whether they ask who calls."""
    seen: set[tuple[str, int]] = set()
    reached, guarded = 0, 0
    hidden: list[int] = []
    for place, pid in listening():
        if place in seen:
            continue
        seen.add(place)
        if pid is None:
            hidden.append(place[1])
            continue
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            whose = owner(process)
            if whose:
                reached += 1
                if is_guarded(process, whose, place):
                    guarded += 1
                else:
                    mend = RAY_MEND if whose == "Ray" else MLFLOW_MEND
                    text = f"{whose}, process {pid}, is open to other machines at {place[0]}:{place[1]}"
                    yield Finding(f"{text} and asks nobody who calls", mend)
    if hidden:
        shown = ", ".join(map(str, sorted(hidden)[:SHOWN])) + (", ..." if len(hidden) > SHOWN else "")
        yield Finding(f"ports of other users are open to other machines, of what only root can see: {shown}")
    if not reached:
        of_whom = " of this user's" if hidden else ""
        yield Finding(f"no port of Ray or MLflow{of_whom} is open to other machines")
    elif guarded == reached:
        text = f"{reached} ports of Ray and MLflow are open to other machines"
        yield Finding(f"{text}: they ask for a token or password, or show Ray's metrics")


def listening() -> Iterator[tuple[tuple[str, int], int | None]]:
    """The addresses that other machines can reach, and the process of each; None for one of another user."""
    for found in psutil.net_connections("tcp"):
        if found.status == psutil.CONN_LISTEN and found.laddr:
            place = (str(found.laddr[0]), int(found.laddr[1]))
            if not ipaddress.ip_address(place[0].split("%")[0]).is_loopback:
                yield place, found.pid


def owner(process: psutil.Process) -> str:
    """`Ray`, `MLflow`, or "" for a process of neither, by its command line."""
    words = process.cmdline()[:6]
    line = " ".join(words)
    if any(word in line for word in RAY):
        return "Ray"
    return "MLflow" if any(word in line for word in MLFLOW) else ""


def is_guarded(process: psutil.Process, whose: str, place: tuple[str, int]) -> bool:
    """Whether it asks who calls: what speaks HTTP is asked for something, of the rest the environment says it.

    Ray's ports of metrics answer anybody, with numbers of load and nothing else: no option of Ray's closes them.
    """
    host = "127.0.0.1" if ipaddress.ip_address(place[0]).is_unspecified else place[0]
    status, kind = ask(host, place[1], ASKED[whose])
    if status == 401 or (
        status == 403 and whose == "Ray"
    ):  # MLflow says 403 to a wrong name of its host, passwords or not
        return True
    return whose == "Ray" and (status is None or status == 404 or METRICS in kind) and has_token(process)


def has_token(process: psutil.Process) -> bool:
    """Whether it was started with one: by its own environment, or where it has hidden that, by that of its parents.

    A process of another user cannot be looked into: it is not said to be guarded.
    """
    for one in (process, *process.parents()):
        with suppress(psutil.Error):
            if (mode := one.environ().get("RAY_AUTH_MODE")) is not None:
                return mode.lower() == "token"
    return False


def ask(host: str, port: int, path: str) -> tuple[int | None, str]:
    """The status and content type of an HTTP request without token or password; None where nothing speaks HTTP."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", "")
    except (OSError, http.client.HTTPException, ValueError):
        return None, ""
    finally:
        connection.close()
