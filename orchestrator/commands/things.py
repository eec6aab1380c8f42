"""`sweep list` and `sweep data`: what there is to use."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands.request import data_dir
from orchestrator.errors import DataError, NotFound, allowed
from orchestrator.store import Store


def list_command(request: Namespace) -> int:
    """`sweep list`: what there is to use in a sweep."""
    from orchestrator.findings.catalogue import catalogue

    found = catalogue(Store.at(request.store).refresh())
    for kind, things in found.items():
        if request.kind in (None, kind):
            print(f"{kind}:" if request.kind is None else "", end="\n" if request.kind is None else "")
            for name, says in things.items():
                print(f"  {name:<22} {says}".rstrip())
    return 0


def data_command(request: Namespace) -> int:
    """`sweep data check`: exit code 2 if a data set that was asked for is missing or damaged."""
    from workloads.datasets.check import check, names

    if request.name is not None and request.name not in names():
        raise NotFound(f"no data set {request.name!r}; {allowed(request.name, names())}")
    states = [check(name, data_dir(request)) for name in names() if request.name in (None, name)]
    for state in states:
        print(state)
    if request.name and not all(state.ready for state in states):
        raise DataError(f"{request.name} is not ready in {data_dir(request)}")
    return 0
