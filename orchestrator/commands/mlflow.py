"""`sweep ui` and `sweep sync`: the store's MLflow."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands.request import data_dir
from orchestrator.store import Store


def ui_command(request: Namespace) -> int:
    """`sweep ui`: serves the store's MLflow until interrupted."""
    from orchestrator.to_mlflow.server import ui as serve

    return serve(Store.at(request.store).refresh(), request.port)


def sync_command(request: Namespace) -> int:
    """`sweep sync`: sends what the tracker's spool still holds; with --rebuild everything that the store has."""
    from orchestrator.tracking import rebuild
    from orchestrator.tracking import sync as send

    store = Store.at(request.store).refresh()
    if request.rebuild:
        return rebuild(store, request.tracking_uri, data_dir(request))
    return send(store, request.tracking_uri)
