"""`sweep ui` and `sweep sync`: the store's MLflow."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.store import Store


def ui_command(request: Namespace) -> int:
    """`sweep ui`: serves the store's MLflow until interrupted."""
    from orchestrator.tracking import ui as serve

    return serve(Store.at(request.store), request.port)


def sync_command(request: Namespace) -> int:
    """`sweep sync`: sends what the tracker's spool still holds."""
    from orchestrator.tracking import sync as send

    return send(Store.at(request.store), request.tracking_uri)
