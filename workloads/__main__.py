"""`python -m workloads run DIR OUT`: computes what `sweep export` wrote, with torch and pydantic alone.

Exit codes: 0 all done; 1 some nodes failed; 2 the request was wrong; 3 the time is up, run it again; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from workloads.alone.package import PackageError
from workloads.alone.request import Request

MORE = 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m workloads", description="Computes what `sweep export` wrote.")
    run = top.add_subparsers(dest="command", required=True).add_parser(
        "run", help="compute what is missing of a package; exit code 3: the time is up, run it again"
    )
    run.add_argument("package", type=Path, metavar="DIR", help="what `sweep export` wrote")
    run.add_argument("out", type=Path, metavar="OUT", help="where results go; `sweep import OUT` takes them")
    run.add_argument("--data", type=Path, metavar="DATA", help="where data sets lie (else $SWEEP_DATA, ./data)")
    run.add_argument("--device", default="cpu", help="cpu, cuda:0 ... (default cpu)")
    run.add_argument("--array", type=_array, default="auto", help="off, auto (default: on a GPU), or how many at once")
    run.add_argument("--minutes", type=_minutes, metavar="M", help="end within so many, with checkpoints")
    run.add_argument(
        "--weights",
        choices=("none", "needed", "all"),
        default="all",
        help="which stay in OUT: all (default), those that nothing in DIR starts from, or none",
    )
    return top


def _array(text: str) -> int | Literal["off", "auto"]:
    if text == "off" or text == "auto":
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: allowed: off, auto, or a whole number of at least 1")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return minutes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    started = time.monotonic()
    asked = parser().parse_args(arguments)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a user's own `workload: package.module`
    data = Path(asked.data or os.environ.get("SWEEP_DATA") or "data").expanduser()
    request = Request(asked.package, asked.out, data, asked.device, asked.array, asked.minutes, asked.weights)
    try:
        return run(request, started)
    except PackageError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that went away
        print(f"{error}; what is finished is kept; the same command goes on", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept; the same command goes on", file=sys.stderr)
        return 130


def run(request: Request, started: float) -> int:
    """Compute what is missing of the package within its minutes from `started`, on the monotonic clock.

    Raises:
        PackageError: the request was wrong; nothing is computed.
    """
    from workloads.alone.context import Clock
    from workloads.alone.request import check_data, package_bytes, prepare
    from workloads.alone.results import Results
    from workloads.alone.runner import Runner

    work = prepare(request)
    results = Results(request.out)
    results.refuse_others(package_bytes(request))
    left = frozenset(node.key for node in work.package.nodes if results.computed(node.key) is None)
    check_data(request, work, left)
    results.prepare(package_bytes(request))
    with results.locked():
        results.sweep_up()
        clock = Clock(None if request.minutes is None else started + 60 * request.minutes)
        runner = Runner(request, work, results, clock, say)
        if not runner.same_code:
            commit = work.package.code.commit[:10] or "unknown"
            say(f"the code here is not the package's (commit {commit}); its VERSIONs agree")
        runner.run()
    say(runner.summary(time.monotonic() - started))
    if runner.unfinished:
        return MORE
    return 1 if runner.failed or runner.waiting else 0


def say(text: str) -> None:
    """A line, at once, whatever stdout is."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
