"""How a sweep was done: set-up, trials, cost, failures, provenance, and the commands that do it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.figures.source import NODE
from orchestrator.findings.levels import level_text
from orchestrator.record import METRIC
from orchestrator.report.origins import KEY, MOST
from orchestrator.report.page import details, escape, table, text, words

if TYPE_CHECKING:
    from orchestrator.report.dossier import Dossier
    from orchestrator.spec import Axis

NAMES = {"dirty": "uncommitted changes", "array": "trained together", "commit": "commit of the code"}
SHOWN = 1000  # trials in the page; the records have all
ROOT = Path(__file__).resolve().parents[2]


def setup(dossier: Dossier) -> str:
    """The axes with their levels, the stages as they were written, and what they leave to defaults."""
    axes = [
        [f"<code>{escape(axis.name)}</code>", escape(_levels(axis)), str(len(axis.levels))]
        for axis in dossier.spec.axes.values()
    ]
    parts = ["<h3>Axes</h3>", words(table("What varies", ["axis", "levels", "number"], axes))] if axes else []
    parts.append("<h3>Stages</h3>")
    rows = []
    for name, stage in dossier.spec.stages.items():
        stated = ", ".join(f"{path} = {_value(value)}" for path, value in _flat(stage.config))
        rows.append([f"<code>{escape(name)}</code>", escape(stage.workload), escape(stated)])
    parts.append(words(table("Stages and what the file says of them", ["stage", "workload", "config"], rows)))
    for name in dossier.spec.stages:
        if left := _defaults(dossier, name):
            pairs = [(f"<code>{escape(path)}</code>", escape(_value(value))) for path, value in left]
            parts.append(details(f"Defaults of {name}", described(pairs)))
    return "\n".join(parts)


def _levels(axis: Axis) -> str:
    parts = []
    for level in axis.levels:
        sets = {path: value for path, value in level.settings.items() if path != axis.name}
        said = f" ({', '.join(f'{path} = {_value(value)}' for path, value in sets.items())})" if sets else ""
        parts.append(f"{level_text(level.label)}{said}")
    return ", ".join(parts)


def _flat(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        place = f"{path}.{name}" if path else str(name)
        if isinstance(item, Mapping) and item:
            yield from _flat(item, place)
        else:
            yield place, item


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _defaults(dossier: Dossier, stage: str) -> list[tuple[str, Any]]:
    """What the stage's first finished node has in its config that neither the file nor a level says."""
    label = next((label for label in dossier.labels if label.partition(".")[0] == stage), "")
    key = next((key for key in dossier.uses.get(label, ()) if key in dossier.outcomes), None)
    if key is None:
        return []
    said = {path for path, _ in _flat(dossier.spec.stages[stage].config)}
    for axis in dossier.spec.axes.values():
        said |= {path.partition(".")[2] for level in axis.levels for path in level.settings if path.startswith(stage)}
    return [
        (path, value)
        for path, value in _flat(dossier.outcomes[key].config)
        if value is not None and not any(path == item or path.startswith(f"{item}.") for item in said)
    ]


def trials(dossier: Dossier) -> str:
    """Every trial with its levels, metrics and status."""
    source = dossier.source
    count = min(dossier.trials, SHOWN)
    columns = [
        *([level_text(level) for level in source.column(f"axis.{axis}")[:count]] for axis in source.axes),
        *(_numbers(source.column(f"{METRIC}{metric}")[:count]) for metric in source.metrics),
        source.column("status")[:count],
        *([(key or "–")[:KEY] for key in source.column(f"{NODE}{label}")[:count]] for label in dossier.labels),
    ]
    header = [
        *(source.short[axis] for axis in source.axes),
        *source.metrics,
        "status",
        *(f"node {label}" for label in dossier.labels),
    ]
    rows = [[escape(str(value)) for value in row] for row in zip(*columns, strict=True)]
    rest = f"The first {count} of {dossier.trials} trials; all are in trials.parquet."
    more = text(rest) if count < dossier.trials else ""
    shown = table(f"{count} trials at full precision", header, rows, 0)
    return more + details(f"Levels, values and nodes of {count} trials", shown)


def _numbers(values: Any) -> list[str]:
    return ["–" if value is None else repr(value) for value in values]


def cost(dossier: Dossier) -> str:
    """Node-seconds by stage, and what sharing saved."""
    rows, total, saved = [], 0.0, 0.0
    for label, counts in dossier.uses.items():
        done = {key: dossier.outcomes[key] for key in counts if key in dossier.outcomes}
        seconds = sum(outcome.seconds for outcome in done.values())
        spared = sum(outcome.seconds * (counts[key] - 1) for key, outcome in done.items())
        total, saved = total + seconds, saved + spared
        mean = duration(seconds / len(done)) if done else "–"
        used = [str(len(counts)), str(len(done)), str(sum(counts.values()))]
        rows.append([f"<code>{escape(label)}</code>", *used, duration(seconds), mean, duration(spared)])
    header = ["stage", "nodes", "done", "uses by trials", "node time", "mean", "spared by sharing"]
    devices = ", ".join(f"{name} ({counted(count, 'node')})" for name, count in dossier.meta.get("device", {}).items())
    on = f" on {devices}" if devices else ""
    summary = f"{duration(total)} of node time{on}; sharing spared {duration(saved)}."
    return f"{text(summary)}\n{table('Cost by stage', header, rows)}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(0.0123), duration(75), duration(9000)
        ('12 ms', '75 s', '2.5 h')
    """
    for limit, size, unit in ((1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{seconds / size:.{0 if seconds / size >= 10 or not seconds else 1}f} {unit}"
    return f"{seconds / 3600:.1f} h"


def failures(dossier: Dossier) -> str:
    """What failed and why, each error once with a traceback on demand, and which trainings diverged."""
    parts = []
    kinds: dict[tuple[str, str], list[str]] = {}
    for key, failure in dossier.failures.items():
        kinds.setdefault((dossier.label_of(key), failure.error), []).append(key)
    for (label, error), keys in kinds.items():
        parts.append(f"<p><code>{escape(label)}</code>, {counted(len(keys), 'node')}: {escape(error)}</p>")
        shown = f"<p>Node <code>{escape(keys[0])}</code>:</p><pre>{escape(dossier.failures[keys[0]].traceback)}</pre>"
        parts.append(details("Traceback", shown))
    diverged = [key for key, outcome in dossier.outcomes.items() if outcome.status == "diverged"]
    if diverged:
        named = ", ".join(f"<code>{escape(dossier.label_of(key))} {key[:KEY]}</code>" for key in diverged[:MOST])
        parts.append(f"<p>{counted(len(diverged), 'node')} ended in a loss that is not finite: {named}.</p>")
    return "\n".join(parts) or text("Nothing failed, nothing diverged.")


def counted(count: int, what: str) -> str:
    """`1 node`, `3 nodes`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def provenance(dossier: Dossier) -> str:
    """Code, versions, machines, data and the sweep file itself."""
    pairs = [("sweep", dossier.name)]
    if dossier.span is not None:
        began, ended = (datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds") for time in dossier.span)
        pairs.append(("computed", f"{began} to {ended}"))
    for name, counts in sorted(dossier.meta.items()):
        values = [
            f"{value} ({counted(count, 'node')})" if len(counts) > 1 else value for value, count in counts.items()
        ]
        pairs.append((NAMES.get(name, name), ", ".join(values)))
    for name, counts in sorted(dossier.versions.items()):
        if name not in dossier.meta:
            pairs.append((name, ", ".join(counts)))
    pairs += [(f"data {name}", fingerprint) for name, fingerprint in dossier.fingerprints.items()]
    shown = described([(escape(name), escape(value)) for name, value in pairs])
    return f"{shown}\n" + details("The sweep file", f"<pre>{escape(dossier.text)}</pre>")


def described(pairs: Sequence[tuple[str, str]]) -> str:
    """Names with their values, both HTML."""
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in pairs)}</dl>"


def reproduce(dossier: Dossier) -> str:
    """What to type to compute all of it again."""
    commits = [commit for commit in dossier.meta.get("commit", {}) if commit]
    lines = [f"git checkout {commit}" for commit in commits[:1]]
    if "True" in dossier.meta.get("dirty", {}):
        lines.insert(0, "# the code had changes that were not committed")
    if len(commits) > 1:
        lines.insert(0, f"# computed with {len(commits)} commits; this is the first")
    lines.append(shlex.join(["sweep", "run", _file(dossier.saved), *_options(dossier.saved)]))
    lines.append(shlex.join(["sweep", "report", dossier.name]))
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _file(saved: Mapping[str, Any]) -> str:
    """The sweep file as one would name it from the top of the repository."""
    path = Path(str(saved["file"]))
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _options(saved: Mapping[str, Any]) -> list[str]:
    found = ["--scale", saved["scale"]] if saved.get("scale") else []
    for path, value in saved.get("set", {}).items():
        found += ["--set", f"{path}={json.dumps(value)}"]
    return found
