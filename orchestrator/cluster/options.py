"""The command line of what concerns other machines."""

from __future__ import annotations

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def add_submit(commands: _SubParsersAction[Any], what: Sequence[Callable[[ArgumentParser], None]]) -> None:
    """`submit`, with the options that `what` adds: those of `run`."""
    submit = commands.add_parser("submit", help="send sweeps and the current code to a Ray cluster; returns at once")
    for add in what:
        add(submit)
    submit.add_argument("--address", required=True, metavar="URL", help="Ray's dashboard: http://HEAD:8265")
    labels = "only machines that Ray has labelled so; repeat for each label"
    submit.add_argument("--on", action="append", default=[], metavar="LABEL=VALUE", help=labels)
    submit.add_argument("--tracking-uri", metavar="U", help="an MLflow server (default: sqlite in the store)")


def add_job(command: ArgumentParser) -> None:
    """The option of `status`, `logs` and `stop` for what was submitted."""
    command.add_argument("--address", metavar="URL", help="Ray's dashboard, to which the sweep was submitted")


def add_doctor(commands: _SubParsersAction[Any], add_store: Callable[[ArgumentParser], None]) -> None:
    """`doctor`."""
    doctor = commands.add_parser("doctor", help="report what is open, mismatched or missing, and how to mend it")
    doctor.add_argument("--address", metavar="A", help="a running Ray: host:port, or http://HEAD:8265 of its dashboard")
    doctor.add_argument("--tracking-uri", metavar="U", help="an MLflow server, or its database")
    doctor.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
    doctor.add_argument("--json", action="store_true", help="for programs")
    add_store(doctor)
