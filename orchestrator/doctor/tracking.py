"""Checks of the MLflow that a sweep is to be shown in."""

from __future__ import annotations

import base64
import http.client
import os
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import parse_qs, urlsplit

from orchestrator.doctor.checks import Finding, Patient, check

DRIVERS = {"postgresql": "psycopg", "postgresql+psycopg": "psycopg", "postgresql+psycopg2": "psycopg2"}
NAMES = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def holds_password(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.password is not None or "password" in parse_qs(parts.query)


@check
def tracking(patient: Patient) -> Iterator[Finding]:
    """Whether the tracking server answers and lets us in, or the database has its driver; and holds no password."""
    if patient.tracking_uri is None:
        return
    parts = urlsplit(patient.tracking_uri)
    if holds_password(patient.tracking_uri):
        yield Finding("--tracking-uri holds a password: every process list shows it", f"take it out; set {NAMES}")
        return
    if (driver := DRIVERS.get(parts.scheme)) is not None:
        missing = "" if find_spec(driver) else "pip install 'psycopg[binary]'"
        yield Finding(f"{parts.scheme}: its driver {driver} is {'not ' if missing else ''}installed", missing)
    elif parts.scheme in ("http", "https"):
        yield _server(patient.tracking_uri)


def _server(uri: str) -> Finding:
    parts = urlsplit(uri)
    try:
        port = parts.port
    except ValueError as error:
        return Finding(f"MLflow {uri}: {error}", "http://HOST:5000")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", port, timeout=20)
    user, password = (os.environ.get(name, "") for name in NAMES.split(" and "))
    headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()} if user else {}
    try:
        path = parts.path.rstrip("/") + "/api/2.0/mlflow/experiments/search?max_results=1"
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or error
        return Finding(f"MLflow {uri}: does not answer ({why})", "start it; a sweep goes on without and sends later")
    finally:
        connection.close()
    if status == 401:
        return Finding(f"MLflow {uri}: asks for another user and password", f"set {NAMES}")
    if status == 403:
        return Finding(f"MLflow {uri}: refuses this name of its host", "start it with --allowed-hosts")
    mend = "" if status == 200 else "see its log"
    return Finding(f"MLflow {uri}: answers{'' if status == 200 else f' with HTTP {status}'}", mend)
