"""`sweep list`, `sweep describe` and `sweep data`: what there is to use."""

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


def describe_command(request: Namespace) -> int:
    """`sweep describe`: what one thing is, and what a sweep file may set of it."""
    from orchestrator.findings.description import describe

    print(describe(request.thing, Store.at(request.store).refresh()))
    return 0


def data_command(request: Namespace) -> int:
    """`sweep data check|fetch`: exit code 2 if a data set that was asked for is missing or damaged."""
    from workloads.datasets.check import check, fetch, names

    name: str | None = request.name
    if name is not None and name not in names():
        raise NotFound(f"no data set {name!r}; {allowed(name, names())}")
    if name is not None and request.action == "fetch":
        try:
            fetch(name, data_dir(request))
        except (OSError, RuntimeError) as error:  # what torchvision raises of networks, disks and checksums
            raise DataError(f"{name} could not be fetched: {error}") from error
    states = [check(each, data_dir(request)) for each in names() if name in (None, each)]
    for state in states:
        print(state)
    if name and not all(state.ready for state in states):
        raise DataError(f"{name} is not ready in {data_dir(request)}")
    return 0
