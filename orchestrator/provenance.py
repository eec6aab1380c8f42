"""Where a result comes from, as far as the driver knows: the commit of the code and whether it was changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from orchestrator.store import Scalar


def provenance() -> dict[str, Scalar]:
    """`commit` (40 hex digits, "" outside a git checkout) and `dirty`."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(commit) and bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str:
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
