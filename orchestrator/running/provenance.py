"""Where a result comes from: the commit of the code, whether it was changed, the kind of processor."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from orchestrator.store import Scalar

PROVENANCE = "provenance.json"
"""Of code that was sent by `sweep submit`: lies beside the packages and says where they came from."""


def provenance() -> dict[str, Scalar]:
    """`commit` (40 hex digits, "" outside a git checkout) and `dirty`; of code that was sent, those of its checkout."""
    with suppress(OSError, ValueError):
        return json.loads((Path(__file__).resolve().parents[2] / PROVENANCE).read_text())
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(commit) and bool(_git("status", "--porcelain", "--untracked-files=no"))}


def processor() -> str:
    """The model of this machine's CPU, as the system names it."""
    with suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
