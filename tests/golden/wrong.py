"""Wrong sweep files and what is said of each: wrong_sweeps/*.yaml and wrong_sweeps/messages.json.

A first line `# scale: NAME` or `# set: PATH=VALUE` says what a file is read with.

python tests/golden/wrong.py     writes messages.json anew; the diff is the review
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).with_name("wrong_sweeps")
MESSAGES = FOLDER / "messages.json"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
_WITH = re.compile(rb"# (scale|set): (.*)\n")


def options(name: str) -> list[str]:
    """The options of the command line that a file is read with."""
    found = _WITH.match((FOLDER / name).read_bytes())
    return [f"--{found[1].decode()}", found[2].decode()] if found else []


def said(name: str) -> list[str]:
    """Everything that is said of a file, with paths as from its folder; nothing if it is not refused.

    Of the measures that are allowed only that all are listed: a new one is no change of what is said.
    """
    from orchestrator.errors import SweepError
    from orchestrator.plan import plan
    from orchestrator.spec import parse_set
    from orchestrator.sweepfile.check import read_checked
    from workloads.measures import MEASURES

    given = dict(zip(*[iter(options(name))] * 2, strict=True))
    try:
        overrides = dict([parse_set(given["--set"])]) if "--set" in given else {}
        plan(read_checked(FOLDER / name, given.get("--scale"), overrides), ROOT / "no data here")
    except SweepError as error:
        text = str(error).replace(f"{FOLDER}/", "").replace(f"{ROOT}/", "")
        return text.replace(", ".join(MEASURES), "EVERY MEASURE").splitlines()
    return []


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    everything = {name: said(name) for name in FILES}
    MESSAGES.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
