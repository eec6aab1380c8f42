"""How runs and what they carry are called: names that MLflow takes, settings as flat text, levels that trials share."""

from __future__ import annotations

import hashlib
import platform
import re
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.levels import level_text
from orchestrator.provenance import provenance

if TYPE_CHECKING:
    from orchestrator.plan import PlannedTrial

PACKAGES = ("torch", "ray", "mlflow", "numpy")
MAX_PARAM, MAX_TAG, MAX_KEY = 6000, 5000, 250
_FORBIDDEN = re.compile(r"[^\w.\-/ :]", re.ASCII)


def mlflow_name(name: str) -> str:
    """`name` as MLflow takes it for a metric or param: other characters become `_`.

    Example:
        >>> mlflow_name("sharp(mu^2=0.1)")
        'sharp_mu_2_0.1_'
    """
    return _FORBIDDEN.sub("_", name).strip("/")[:MAX_KEY]


def flattened(config: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """The settings of a config by dotted path, as text; what is null is left out, a list is one text.

    Example:
        >>> flattened({"model": {"name": "mlp", "width": 32}, "from": None, "measures": ["loss", "norm"]}, "fit")
        {'fit.model.name': 'mlp', 'fit.model.width': '32', 'fit.measures': 'loss, norm'}
    """
    found: dict[str, str] = {}
    for name, value in config.items():
        path = f"{prefix}.{name}"
        if isinstance(value, Mapping):
            found.update(flattened(value, path))
        elif value is not None:
            found[path] = _text(value)
    return found


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_text(item)}" for name, item in value.items()) + "}"
    return level_text(value)


def finished_with(trial: PlannedTrial) -> str:
    """A digest of the targets that a finished trial reports: another measure makes another one."""
    return hashlib.sha256("\n".join(sorted(trial.nodes[name] for name in trial.targets)).encode()).hexdigest()[:16]


def common_levels(trials: Sequence[PlannedTrial]) -> dict[str, Any]:
    """The levels that all of these trials have."""
    common = dict(trials[0].trial.levels) if trials else {}
    for trial in trials[1:]:
        common = {name: label for name, label in common.items() if trial.trial.levels.get(name) == label}
    return common


def provenance_tags(store: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What every run carries, and what only the one above them does."""
    source = provenance()
    everywhere = {"sweep.store": str(store)}
    if source["commit"]:
        everywhere["mlflow.source.git.commit"] = str(source["commit"])
    above = {"sweep.dirty": str(bool(source["dirty"])).lower(), "sweep.host": socket.gethostname()}
    above["version.python"] = platform.python_version()
    for package in PACKAGES:
        try:
            above[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return everywhere, above
