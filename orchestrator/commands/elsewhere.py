"""`sweep export` and `sweep import`: for machines without Ray and MLflow."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands.request import data_dir, planned
from orchestrator.store import Store


def export_command(request: Namespace) -> int:
    """`sweep export`: what is missing, for a machine without Ray and MLflow."""
    from orchestrator.running.exporting import export

    plans = [planned(path, request) for path in request.specs]
    print(export(plans, Store.at(request.store).refresh(), request.folder, data_dir(request)))
    return 0


def import_command(request: Namespace) -> int:
    """`sweep import`: what that machine computed, into the store."""
    from orchestrator.running.importing import import_results

    print(import_results(request.folders, Store.at(request.store).refresh()))
    return 0
