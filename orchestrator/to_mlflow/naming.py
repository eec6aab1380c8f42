"""How runs and what they carry are called: names that MLflow takes, settings as flat text, levels that trials share."""

from __future__ import annotations

import hashlib
import platform
import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from orchestrator.findings.levels import level_text
from orchestrator.running.provenance import provenance

if TYPE_CHECKING:
    from orchestrator.plan import PlannedTrial
    from orchestrator.store import Outcome

PACKAGES = ("torch", "ray", "mlflow", "numpy")
MAX_PARAM, MAX_TAG, MAX_KEY = 6000, 5000, 250
_FORBIDDEN = re.compile(r"[^\w.\-/ :]", re.ASCII)


def mlflow_name(name: str) -> str:
    """`name` as MLflow takes it for a metric or param: other characters become `_`.

    Example:
        >>> [mlflow_name(name) for name in ("sharp(mu^2=0.1)", "a//../b")]
        ['sharp_mu_2_0.1_', 'a/b']
    """
    parts = [part for part in _FORBIDDEN.sub("_", name).split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:MAX_KEY].rstrip("/") or "_"


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


def provenance_tags(store: str) -> dict[str, str]:
    """What every run says of where it comes from: commit, whether the code was changed, versions, host, store."""
    source = provenance()
    tags = {"sweep.store": store, "sweep.host": socket.gethostname(), "version.python": platform.python_version()}
    if source["commit"]:
        tags["mlflow.source.git.commit"] = str(source["commit"])
        tags["sweep.dirty"] = str(bool(source["dirty"])).lower()
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            tags[f"version.{package}"] = version(package)
    return tags


def trial_metrics(trial: PlannedTrial, outcomes: Mapping[str, Outcome]) -> dict[str, tuple[float, Outcome]]:
    """The targets' metrics; a name that two report is preceded by what tells them apart, as in the records."""
    reported = [
        (target, name, value, outcome)
        for target in trial.targets
        if (outcome := outcomes.get(trial.nodes[target])) is not None
        for name, value in outcome.metrics.items()
    ]
    by_name = Counter(name for _, name, _, _ in reported)
    by_stage = Counter((target.partition(".")[0], name) for target, name, _, _ in reported)
    found: dict[str, tuple[float, Outcome]] = {}
    for target, name, value, outcome in reported:
        stage = target.partition(".")[0]
        prefix = "" if by_name[name] == 1 else f"{stage if by_stage[stage, name] == 1 else target}."
        found[f"{prefix}{name}"] = value, outcome
    return found


def milliseconds(time: float) -> int:
    """Unix seconds as MLflow wants them."""
    return round(time * 1000)
