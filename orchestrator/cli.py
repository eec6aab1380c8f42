"""The command `sweep`: parses the command line and shows what went wrong. The commands themselves are in commands/.

Exit codes: 0 done; 1 some trials failed, or a claim is refuted, or the machine failed; 2 the request was wrong;
130 interrupted; 143 told to end (SIGTERM).
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from orchestrator.cluster.options import add_doctor, add_job, add_submit
from orchestrator.errors import EngineLost, SweepError, allowed
from orchestrator.running.stopping import Interrupted, leave_now
from orchestrator.storage.writing import explain, reason

FORMATS = ("text", "markdown", "csv", "latex", "parquet", "json", "html")
ARRAY = "train similar nodes together, N at once; auto (default): on GPUs, as many as is fastest"
ON = "with --address: only machines that Ray has labelled so; repeat for each label"
STORE = "where results are kept: a folder, or s3://BUCKET/PREFIX (default ./runs)"
COMMANDS = {
    "run": "run",
    "plan": "plan",
    "submit": "submit",
    "status": "watching",
    "logs": "watching",
    "stop": "watching",
    "why": "why",
    "diff": "diff",
    "gc": "gc",
    "doctor": "doctor",
    "table": "results",
    "claims": "results",
    "figures": "report",
    "report": "report",
    "export": "elsewhere",
    "import": "elsewhere",
    "schema": "schema",
    "list": "things",
    "describe": "things",
    "data": "things",
    "ui": "mlflow",
    "sync": "mlflow",
}
"""Which module of commands/ has a command: loaded only when it is asked for."""

KINDS = ("workloads", "measures", "models", "datasets", "sweeps")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line and the nearest match instead of argparse's whole usage."""
        known = [name for action in self._actions for name in action.option_strings]
        if message.startswith("unrecognized arguments: -"):
            message += f" ({allowed(message.split(': ')[1].split('=')[0].split(' ')[0], known)})"
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="sweep", description="Sweeps of small trainings: from YAML to comparison tables.")
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_run(commands)
    add_submit(commands, [_add_spec, _add_machine])
    _add_readers(commands)
    _add_reports(commands)
    _add_explainers(commands)
    _add_elsewhere(commands)
    _add_others(commands)
    add_doctor(commands, _add_store)
    return top


def _add_spec(command: argparse.ArgumentParser) -> None:
    command.add_argument("specs", nargs="+", type=Path, metavar="SPEC", help="sweep files")
    command.add_argument("--scale", help="a named overlay of the file: smoke, desk ...")
    command.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="replace one value or axis")
    command.add_argument("--limit", type=_positive, metavar="N", help="the first N trials only")
    command.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
    _add_store(command)


def _add_machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--jobs", type=_positive, metavar="N", help="groups at once (default: one per core)")
    command.add_argument("--gpus", type=_count, default=0, metavar="N", help="GPUs to use (default 0)")
    command.add_argument("--array", type=_array, default="auto", metavar="off|auto|N", help=ARRAY)


def _add_store(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", default="runs", metavar="STORE", help=STORE)


def _add_run(commands: argparse._SubParsersAction[_Parser]) -> None:
    run = commands.add_parser("run", help="run what is missing from sweeps and print their tables")
    _add_spec(run)
    _add_machine(run)
    run.add_argument("--address", metavar="A", help="a running Ray (default: one of our own on this machine)")
    run.add_argument("--on", action="append", default=[], metavar="LABEL=VALUE", help=ON)
    run.add_argument("--tracking-uri", metavar="U", help="an MLflow server (default: sqlite in the store)")
    run.add_argument("--inline", action="store_true", help="everything in this process, without Ray")
    run.add_argument("--only", metavar="KEY", help="one trial only, of that key or with a node of it; the rest stays")
    run.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="--inline: a debugger on error")
    run.add_argument("--yes", action="store_true", help="do not ask before more than one GPU-hour")
    shown = run.add_mutually_exclusive_group()
    shown.add_argument("--plain", action="store_true", help="lines instead of a live view")
    shown.add_argument("--quiet", action="store_true", help="no progress")
    shown.add_argument("--json", action="store_true", help="progress as JSON lines")
    plan = commands.add_parser("plan", help="show trials, nodes, what is shared and done, and the cost; runs nothing")
    _add_spec(plan)
    _add_machine(plan)
    plan.add_argument("--json", action="store_true", help="for programs")


def _add_readers(commands: argparse._SubParsersAction[_Parser]) -> None:
    status = commands.add_parser("status", help="show how far sweeps are")
    status.add_argument("name", nargs="?", metavar="NAME", help="a sweep (default: all of the store)")
    status.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
    status.add_argument("--follow", action="store_true", help="keep going while one runs: a line at each change")
    status.add_argument("--tracking-uri", metavar="U", help="ask an MLflow server, where the store cannot be seen")
    _add_store(status)
    logs = commands.add_parser("logs", help="show a sweep's log, or all that is known of one trial")
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("--trial", metavar="KEY", help="of a trial or a node; its first digits are enough")
    logs.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
    _add_store(logs)
    stop = commands.add_parser("stop", help="ask whoever runs a sweep, on any machine, to stop in good order")
    stop.add_argument("name", metavar="NAME")
    _add_store(stop)
    for command in (status, logs, stop):
        add_job(command)
    table = commands.add_parser("table", help="print the tables of a sweep")
    table.add_argument("name", metavar="NAME")
    table.add_argument("--table", metavar="TABLE", help="one table only")
    table.add_argument("--format", choices=FORMATS, default="text")
    table.add_argument("--explain", metavar="ROW,COLUMN", help="where a number comes from: its trials, nodes, files")
    table.add_argument("--output", type=Path, metavar="FILE", help="write to a file (needed for parquet)")
    _add_store(table)
    claims = commands.add_parser("claims", help="judge the claims of a sweep; exit code 1 if one is refuted")
    claims.add_argument("name", metavar="NAME")
    claims.add_argument("--json", action="store_true", help="for programs")
    _add_store(claims)


def _add_reports(commands: argparse._SubParsersAction[_Parser]) -> None:
    figures = commands.add_parser("figures", help="draw the figures of a sweep")
    figures.add_argument("name", metavar="NAME", help="a sweep, or a bundle of one")
    figures.add_argument("--figure", metavar="FIGURE", help="one figure only")
    figures.add_argument("--format", choices=("svg", "pdf", "png"), default="svg")
    figures.add_argument("--output", type=Path, metavar="DIR", help="a folder (default: sweeps/NAME/figures/)")
    report = commands.add_parser("report", help="write one HTML page per sweep, and an index if there are several")
    report.add_argument("names", nargs="+", metavar="NAME", help="sweeps, or bundles of them")
    report.add_argument("--output", type=Path, metavar="PATH", help="the page, or the folder of several")
    report.add_argument("--bundle", type=Path, metavar="FILE", help="pack the sweep into a .zip or .tar.gz instead")
    for command in (figures, report):
        command.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
        _add_store(command)


def _add_explainers(commands: argparse._SubParsersAction[_Parser]) -> None:
    why = commands.add_parser("why", help="explain a node: what it is, who needs it, why it will or will not run")
    why.add_argument("key", metavar="KEY", help="of a node; its first digits are enough if they are unique")
    diff = commands.add_parser("diff", help="show how two sweeps differ, or a sweep file and the store")
    diff.add_argument("first", metavar="A", help="a sweep file, or the name of a sweep of the store")
    diff.add_argument("second", nargs="?", metavar="B", help="another (default: the sweep of the store of that name)")
    diff.add_argument("--scale", help="of files: a named overlay")
    diff.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="of files: replace one value")
    gc = commands.add_parser("gc", help="show what no sweep of the store needs; --yes removes it")
    gc.add_argument("--yes", action="store_true", help="remove it")
    for command in (why, diff, gc):
        command.add_argument("--json", action="store_true", help="for programs")
        command.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
        _add_store(command)


def _add_elsewhere(commands: argparse._SubParsersAction[_Parser]) -> None:
    export = commands.add_parser("export", help="pack the missing nodes for a machine without Ray and MLflow")
    _add_spec(export)
    export.add_argument("folder", type=Path, metavar="DIR", help="a new folder: `python -m workloads run DIR OUT`")
    taking = commands.add_parser("import", help="add to the store what such a machine computed")
    taking.add_argument("folders", nargs="+", type=Path, metavar="OUT", help="what `python -m workloads run` wrote")
    _add_store(taking)


def _add_others(commands: argparse._SubParsersAction[_Parser]) -> None:
    commands.add_parser("schema", help="print the JSON schema of sweep files, for editors")
    listing = commands.add_parser("list", help="list what a sweep can use")
    listing.add_argument("kind", nargs="?", choices=KINDS)
    _add_store(listing)
    describe = commands.add_parser("describe", help="describe a model, measure, workload, sweep ...")
    describe.add_argument("thing", metavar="THING", help="a name, a sweep file, or package.module")
    _add_store(describe)
    data = commands.add_parser("data", help="check or fetch data sets")
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_Parser)
    check = actions.add_parser("check", help="say which data sets are there and whether their checksums are right")
    check.add_argument("name", nargs="?", metavar="NAME", help="one data set (default: all)")
    fetch = actions.add_parser("fetch", help="download a published data set with torchvision, then check it")
    fetch.add_argument("name", metavar="NAME")
    for action in (check, fetch):
        action.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
    show = commands.add_parser("ui", help="serve the MLflow UI of the store, on this machine only")
    show.add_argument("--port", type=_positive, default=5000, metavar="P", help="the next free one if taken")
    _add_store(show)
    sync = commands.add_parser("sync", help="send MLflow whatever it still lacks")
    sync.add_argument("--tracking-uri", metavar="U", help="an MLflow server (default: sqlite in the store)")
    sync.add_argument("--rebuild", action="store_true", help="make all runs again from the store")
    sync.add_argument("--data", type=Path, metavar="DIR", help="where data sets lie (else $SWEEP_DATA, ./data)")
    _add_store(sync)


def _array(text: str) -> str | int:
    if text in ("off", "auto"):
        return text
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not off, auto, or a whole number of at least 1")
    return int(text)


def _positive(text: str) -> int:
    return _count(text, 1)


def _count(text: str, least: int = 0) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    request = parser().parse_args(arguments)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a user's own `workload: package.module`
    try:
        with _told_to_end():
            module = importlib.import_module(f"orchestrator.commands.{COMMANDS[request.command]}")
            return getattr(module, f"{request.command}_command")(request)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if request.debug and not isinstance(error, KeyboardInterrupt):
            raise
        message, code = _ending(error, sys.argv[1:] if arguments is None else arguments)
        print(message, file=sys.stderr, flush=True)
        if isinstance(error, EngineLost):
            leave_now(code)  # what is left of Ray in this process would wait for the rest of it
        return code


@contextmanager
def _told_to_end() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does; a run listens by itself and does it in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ending(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    """What to say of what ended a command, and the exit code."""
    if isinstance(error, SweepError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        code = error.exit_code if isinstance(error, Interrupted) else 130
        goes_on = f"; to go on: {shlex.join(['sweep', *map(str, arguments)])}" if arguments[:1] == ["run"] else ""
        return f"interrupted: what is finished is kept{goes_on}", code
    if isinstance(error, OSError) and (number := reason(error)) is not None:
        return explain(error.filename or "output", number), 1
    what = f"{type(error).__name__}: {error}"
    return f"{what} (a fault of ours or of the machine: --debug shows where)", 1


if __name__ == "__main__":
    sys.exit(main())
