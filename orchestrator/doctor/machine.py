"""Checks of this machine: its GPUs, and who may read its token."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.checks import Finding, Patient, check
from orchestrator.doctor.probe import PCI, count_cards, has_driver

DRIVER = "install NVIDIA's driver, then start the machine again"


@check
def gpu(patient: Patient) -> Iterator[Finding]:
    """Whether what is in the machine can be used: the driver is loaded, and torch is one with CUDA."""
    cards, driver = count_cards(PCI), has_driver()
    if not cards and not driver:
        yield Finding("no NVIDIA GPU in this machine")
        return
    if not driver:
        yield Finding(f"{cards} NVIDIA GPUs without a driver", DRIVER)
        return
    import torch

    if torch.version.cuda is None:
        yield Finding(f"NVIDIA GPU, but torch {torch.__version__} has no CUDA", "install torch's build with CUDA")
    elif not torch.cuda.is_available():
        mend = "a driver older than that CUDA, or no permission for /dev/nvidia*: see nvidia-smi"
        yield Finding(f"NVIDIA GPU, but torch {torch.__version__} with CUDA {torch.version.cuda} cannot use it", mend)
    else:
        yield Finding(f"{torch.cuda.device_count()} GPUs, {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")


@check
def token(patient: Patient) -> Iterator[Finding]:
    """Ray's token: where it is, and that nobody else can read it."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    if mode.lower() == "disabled":
        yield Finding("RAY_AUTH_MODE=disabled: a Ray started here runs what anyone tells it", "RAY_AUTH_MODE=token")
    if not path.exists():
        if named and not os.environ.get("RAY_AUTH_TOKEN"):
            yield Finding(f"RAY_AUTH_TOKEN_PATH={path}: not there", "name the file that holds the cluster's token")
        return
    bits = stat.S_IMODE(path.stat().st_mode)
    open_to = bits & (stat.S_IRWXG | stat.S_IRWXO)
    yield Finding(f"token {path}: mode {bits:o}", f"others may read it: chmod 600 {path}" if open_to else "")
