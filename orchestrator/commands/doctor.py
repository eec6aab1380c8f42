"""`sweep doctor`."""

from __future__ import annotations

import json
import os
from argparse import Namespace

from orchestrator.commands.request import data_dir
from orchestrator.doctor.checks import Finding, Patient, examine
from orchestrator.store import Store


def doctor_command(request: Namespace) -> int:
    """`sweep doctor`: what is open, mismatched or missing; exit code 1 if something is to be mended."""
    if "://" in request.store:
        Store.at(request.store)  # refuses what no store can be at
    data = data_dir(request)
    asked = request.data is not None or "SWEEP_DATA" in os.environ or data.is_dir()
    patient = Patient(request.store, data if asked else None, request.address, request.tracking_uri)
    found: list[Finding] = []
    for finding in examine(patient):
        found.append(finding)
        if not request.json:
            print(finding, flush=True)
    wrong = sum(not finding.well for finding in found)
    if request.json:
        print(json.dumps([finding.json() for finding in found]))
    else:
        print(f"{wrong} to mend" if wrong else "all is well")
    return 1 if wrong else 0
