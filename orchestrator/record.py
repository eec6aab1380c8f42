"""The rows: one per planned trial, with its levels, metrics, status, cost and provenance.

Records are derived from plan and nodes, and everything that prints reads only them: `records/<NAME>/trials.parquet`
(axis.*, metric.*, status, error, meta.*) and `records/<NAME>/curves/curves.parquet` (one row per logged value).
The schema is declared and never inferred: equal inputs give equal bytes, and no column is of type null.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow

from orchestrator.errors import NotFound
from orchestrator.findings import schema
from orchestrator.findings.levels import level_array, level_text, level_type, short_names
from orchestrator.findings.schema import AXIS, METRIC
from orchestrator.planning.adaptive import Seeds
from orchestrator.store import Outcome, Scalar, write_atomically
from orchestrator.sweepfile.axes import SEED

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial
    from orchestrator.spec import Axis, SweepSpec
    from orchestrator.store import Failure

PRINTED = (AXIS, METRIC, "status")  # what tables are made of
ADAPTIVE = "meta.seeds"  # how many seeds the combination has, where a rule decides it
PROVENANCE = ("host", "device", "torch", "commit", "array")


def rows(plan: Plan, outcomes: Mapping[str, Outcome], failures: Mapping[str, Failure]) -> pyarrow.Table:
    """One row per planned trial, in plan order; with adaptive seeds, per trial that they ask for so far.

    A metric is reported by the trial's targets; one of a diverged node keeps the value that was reported. A name that
    two stages report is `metric.<stage>.<NAME>`, one that two parts of a stage report `metric.<stage>.<part>.<NAME>`.
    What was gathered over an axis stands in the first row of the trials that differ in that axis, so it counts once.
    """
    seeds = Seeds(plan, outcomes, failures)
    plan = seeds.plan_of_wanted()
    columns = _axis_columns(plan)
    columns.update(_metric_columns(plan, outcomes))
    states = [_status(plan, trial, outcomes, failures) for trial in plan.trials]
    columns["status"] = pyarrow.array([status for status, _ in states], pyarrow.string())
    columns["error"] = pyarrow.array([error for _, error in states], pyarrow.string())
    columns.update(_meta_columns(plan, outcomes))
    if prefixes := seeds.prefixes():
        columns[ADAPTIVE] = pyarrow.array([prefix.count for prefix in prefixes], pyarrow.int64())
        columns["meta.seeds_why"] = _strings(prefix.why for prefix in prefixes)
    return pyarrow.table(columns)


def curves(plan: Plan, histories: Mapping[str, pyarrow.Table]) -> pyarrow.Table:
    """Everything the nodes logged, long: the trial's levels, its key, then stage, step, name and value."""
    import numpy

    long, again = {key: _long(table) for key, table in histories.items()}, _told_above(plan)
    used = [
        (index, label, long[key])
        for index, trial in enumerate(plan.trials)
        for label, key in trial.nodes.items()
        if key in long and (index, label.partition(".")[0]) not in again
    ]
    trial_of_row = numpy.repeat([index for index, _, _ in used], [part.num_rows for *_, part in used]).astype("int64")
    levels = pyarrow.table({**_axis_columns(plan), "meta.trial": _strings(trial.key for trial in plan.trials)})
    columns = dict(zip(levels.column_names, levels.take(pyarrow.array(trial_of_row)).columns, strict=True))
    stages = numpy.repeat(numpy.array([label for _, label, _ in used], object), [part.num_rows for *_, part in used])
    columns["stage"] = pyarrow.array(stages, pyarrow.string())
    values = pyarrow.concat_tables([part for *_, part in used] or [_LONG.empty_table()])
    return pyarrow.table({**columns, **dict(zip(values.column_names, values.columns, strict=True))})


def write(folder: Path, table: pyarrow.Table, spec: SweepSpec) -> Path:
    """Write the trials' rows, atomically; returns the file."""
    return _write(folder / "trials.parquet", table, spec)


def write_curves(folder: Path, table: pyarrow.Table, spec: SweepSpec) -> Path:
    """Write the curves, atomically; returns the file."""
    return _write(folder / "curves" / "curves.parquet", table, spec)


def read(folder: Path, only: tuple[str, ...] = ("",)) -> pyarrow.Table:
    """The trials' rows of a sweep; of its columns those whose names begin with one of `only`.

    Raises:
        NotFound: there are none.
        StoreError: the file is damaged, no records of a sweep, or of a later version.
    """
    if not (path := folder / "trials.parquet").is_file():
        raise NotFound(f"{path}: no records of a sweep {folder.name!r}; `sweep run` writes them")
    return schema.conform(schema.load(path, only), path)


def read_curves(folder: Path, names: Sequence[str]) -> pyarrow.Table | None:
    """What the nodes logged under `names`, a row a value; None where nothing was ever logged.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / "curves" / "curves.parquet"
    return schema.load(path, filters=[("name", "in", [*names])]) if path.is_file() else None


def partial(records: pyarrow.Table) -> str:
    """What to say of records of a sweep that is not whole yet; "" of one that is."""
    missing = sum(status == "missing" for status in records["status"].to_pylist())
    return f"PARTIAL: {missing} of {records.num_rows} trials are missing." if missing else ""


def axis_names(records: pyarrow.Table) -> list[str]:
    """The axes of a records table, in order."""
    return [name.removeprefix(AXIS) for name in records.column_names if name.startswith(AXIS)]


def metric_names(records: pyarrow.Table) -> list[str]:
    """The metrics of a records table, in order."""
    return [name.removeprefix(METRIC) for name in records.column_names if name.startswith(METRIC)]


_LONG = pyarrow.schema([("step", pyarrow.int64()), ("name", pyarrow.string()), ("value", pyarrow.float64())])


def _long(history: pyarrow.Table) -> pyarrow.Table:
    """A history (a column per name) as one row per value that was logged, by name, then step."""
    parts = []
    for name in sorted(set(history.column_names) - {"step"}):
        part = pyarrow.table([history["step"], history[name].cast(pyarrow.float64())], ["step", "value"])
        part = part.filter(part["value"].is_valid())
        names = pyarrow.repeat(pyarrow.scalar(name), part.num_rows)
        parts.append(pyarrow.table([part["step"], names, part["value"]], schema=_LONG))
    return pyarrow.concat_tables(parts or [_LONG.empty_table()])


def _write(path: Path, table: pyarrow.Table, spec: SweepSpec) -> Path:
    import pyarrow.parquet

    meaning = json.dumps([spec.document.value, spec.scale, dict(spec.overrides)], default=str)
    digest = hashlib.sha256(meaning.encode()).hexdigest()
    metadata = {"sweep": spec.record_name, "spec": digest, "schema": schema.VERSION}
    sink = pyarrow.BufferOutputStream()
    texts = [field.name for field in table.schema if pyarrow.types.is_string(field.type)]  # numbers hardly repeat
    table = table.replace_schema_metadata(metadata)
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": texts}
    pyarrow.parquet.write_table(table, sink, **options)
    write_atomically(path, sink.getvalue().to_pybytes())
    return path


def _strings(values: Iterable[str | None]) -> pyarrow.Array:
    return pyarrow.array(list(values), pyarrow.string())


def _axis_columns(plan: Plan) -> dict[str, pyarrow.Array]:
    return {f"{AXIS}{axis.name}": _axis_column(axis, plan.trials) for axis in plan.spec.axes.values()}


def _axis_column(axis: Axis, trials: Sequence[PlannedTrial]) -> pyarrow.Array:
    of_type = level_type([level.label for level in axis.levels])
    return level_array([trial.trial.levels[axis.name] for trial in trials], of_type)


def _metric_columns(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, pyarrow.Array]:
    reported, again = _reported(plan, outcomes), _told_above(plan)
    sharing: dict[str, set[str]] = {}  # metric name -> the targets that report it beside another one, in some trial
    for targets in {trial.targets for trial in plan.trials}:
        by_name: dict[str, list[str]] = {}
        for target in targets:
            for name in reported.get(target, ()):
                by_name.setdefault(name, []).append(target)
        for name, several in by_name.items():
            if len(several) > 1:
                sharing.setdefault(name, set()).update(several)
    columns: dict[str, list[float | None]] = {}
    for target, names in reported.items():
        for name in names:
            values = columns.setdefault(_metric_name(name, target, sharing.get(name, set())), [None] * len(plan.trials))
            for index, trial in enumerate(plan.trials):
                here = target in trial.targets and (index, target.partition(".")[0]) not in again
                outcome = outcomes.get(trial.nodes[target]) if here else None
                if outcome is not None and name in outcome.metrics:
                    values[index] = float(outcome.metrics[name])
    return {name: pyarrow.array(values, pyarrow.float64()) for name, values in columns.items()}


def _told_above(plan: Plan) -> set[tuple[int, str]]:
    """Trials and stages whose node stands in the row of an earlier trial, which differs in gathered axes only."""
    seen: set[tuple[str, str]] = set()
    again: set[tuple[int, str]] = set()
    for index, trial in enumerate(plan.trials):
        for stage, axes in trial.gathered.items():
            group = stage, repr([(name, label) for name, label in trial.trial.levels.items() if name not in axes])
            if group in seen:
                again.add((index, stage))
            seen.add(group)
    return again


def _metric_name(name: str, target: str, sharing: set[str]) -> str:
    if not sharing:
        return f"{METRIC}{name}"
    stage = target.partition(".")[0]
    several_parts = sum(other.partition(".")[0] == stage for other in sharing) > 1
    return f"{METRIC}{target if several_parts else stage}.{name}"


def _reported(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """The metric names of every target, in plan order; a part (a measure) without any outcome yet reports its own name.

    Names of one outcome are sorted: an outcome that was read back has lost the order in which they were returned.
    """
    found: dict[str, set[str]] = {}
    for trial in plan.trials:
        for target in trial.targets:
            names = found.setdefault(target, set())
            if outcome := outcomes.get(trial.nodes[target]):
                names.update(outcome.metrics)
    for target, names in found.items():
        _, _, part = target.partition(".")
        if part and not names:
            names.add(part)
    return {target: sorted(names) for target, names in found.items()}


def _status(
    plan: Plan, trial: PlannedTrial, outcomes: Mapping[str, Outcome], failures: Mapping[str, Failure]
) -> tuple[str, str | None]:
    """done | diverged when all targets have outcomes; else failed, or skipped: an input shared with others failed."""
    if all(trial.nodes[target] in outcomes for target in trial.targets):
        ended = {outcomes[key].status for key in trial.nodes.values() if key in outcomes}
        return ("diverged" if "diverged" in ended else "done"), None
    failed = [label for label, key in trial.nodes.items() if key in failures and key not in outcomes]
    if not failed:
        return _gathered_status(plan, trial, outcomes, failures)
    first, key = failed[0], trial.nodes[failed[0]]
    error = f"{first}: {failures[key].error}"
    if first not in trial.targets and len(plan.uses(key)) > 1:
        return "skipped", f"its input failed: {error}"
    return "failed", error


def _gathered_status(
    plan: Plan, trial: PlannedTrial, outcomes: Mapping[str, Outcome], failures: Mapping[str, Failure]
) -> tuple[str, str | None]:
    """skipped where what failed belongs to another of the trials that a stage of this one gathers; else missing."""
    left = [key for label, key in trial.nodes.items() if label.partition(".")[0] in trial.gathered]
    seen: set[str] = set()
    while left:
        key = left.pop(0)
        if key in seen or key in outcomes:
            continue
        seen.add(key)
        if key in failures:
            return "skipped", f"its input failed: {plan.nodes[key].label}: {failures[key].error}"
        left += [ref.key for ref in plan.nodes[key].inputs.values()]
    return "missing", None


def _meta_columns(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, pyarrow.Array]:
    short = short_names(plan.spec.axes)
    labels = dict.fromkeys(label for trial in plan.trials for label in trial.nodes)
    finished = [_finished(trial, outcomes) for trial in plan.trials]
    columns: dict[str, pyarrow.Array] = {"meta.trial": _strings(trial.key for trial in plan.trials)}
    columns["meta.group"] = _strings(_group(trial.trial.levels, short) for trial in plan.trials)
    for label in labels:
        columns[f"meta.node.{label}"] = _strings(trial.nodes.get(label) for trial in plan.trials)
    rows_of = Counter(key for trial in plan.trials for key in {*trial.nodes.values()})
    seconds = [sum(out.seconds / rows_of[out.key] for out in found) if found else None for found in finished]
    columns["meta.seconds"] = pyarrow.array(seconds, pyarrow.float64())
    for name in PROVENANCE:
        columns[f"meta.{name}"] = _strings(_joined(outcome.meta.get(name) for outcome in found) for found in finished)
    columns["meta.finished"] = _strings(
        _latest(outcome.meta.get("finished") for outcome in found) for found in finished
    )
    return columns


def _finished(trial: PlannedTrial, outcomes: Mapping[str, Outcome]) -> list[Outcome]:
    return [outcomes[key] for key in dict.fromkeys(trial.nodes.values()) if key in outcomes]


def _group(levels: Mapping[str, Scalar], short: Mapping[str, str]) -> str:
    return " ".join(f"{short[axis]}={level_text(label)}" for axis, label in levels.items() if axis != SEED)


def _joined(values: Iterable[Any]) -> str | None:
    """The distinct values: a trial's nodes may have run in several places."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or None


def _latest(times: Iterable[Any]) -> str | None:
    """The last of several times (unix seconds), as ISO 8601 in UTC."""
    last = max((float(time) for time in times if time is not None), default=None)
    return None if last is None else datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds")
