"""`sweep diff A B`: in which trials, fields and nodes two plans differ, and what of it a store has not."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.findings.levels import level_text
from orchestrator.planning.needs import needed
from orchestrator.to_mlflow.naming import flattened

if TYPE_CHECKING:
    from orchestrator.plan import Plan, PlannedTrial
    from orchestrator.store import Outcome

SHOWN = 3  # trials and values that are named; programs get all of them
NOTHING = "(not there)"


@dataclass(frozen=True)
class Side:
    """One of the two: its name for people, and its plan."""

    name: str
    plan: Plan


def difference(first: Side, second: Side) -> dict[str, Any]:
    """How the plan of `second` differs from that of `first`, as JSON values."""
    ours, theirs = _by_levels(first.plan), _by_levels(second.plan)
    both = [name for name in ours if name in theirs]
    if both or not (ours and theirs):
        changes = _changes(((ours[name], theirs[name]) for name in both), first.plan, second.plan)
    else:
        changes = _value_sets(first.plan, second.plan)
    keys = first.plan.nodes.keys(), second.plan.nodes.keys()
    return {
        "names": [first.name, second.name],
        "trials": {
            "both": len(both),
            "only_first": [trial.trial.label for name, trial in ours.items() if name not in theirs],
            "only_second": [trial.trial.label for name, trial in theirs.items() if name not in ours],
        },
        "fields": [
            {"field": field, "first": values[0], "second": values[1], "trials": count}
            for (field, *values), count in changes.items()
        ],
        "nodes": {
            "both": len(keys[0] & keys[1]),
            "only_first": _per_stage(first.plan, keys[0] - keys[1]),
            "only_second": _per_stage(second.plan, keys[1] - keys[0]),
        },
    }


def new_nodes(before: Plan | None, after: Side, done: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """The nodes of `after` that the store lacks, per stage and reason: what differs from the same trial `before`."""
    todo = needed(after.plan, done)
    ours = {} if before is None else _by_levels(before)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for key in (key for key in after.plan.nodes if key in todo):
        node = after.plan.nodes[key]
        reasons[node.stage][_reason(key, before, ours, after.plan)] += 1
    return [
        {"stage": stage, "nodes": count, "because": reason}
        for stage in after.plan.spec.stages
        for reason, count in reasons.get(stage, {}).items()
    ]


def _by_levels(plan: Plan) -> dict[str, PlannedTrial]:
    return {_levels(trial): trial for trial in plan.trials}


def _levels(trial: PlannedTrial) -> str:
    """What tells trials apart: their levels, whatever the order of the axes."""
    return json.dumps({axis: level_text(label) for axis, label in trial.trial.levels.items()}, sort_keys=True)


def _changes(
    pairs: Iterable[tuple[PlannedTrial, PlannedTrial]], first: Plan, second: Plan
) -> Counter[tuple[str, str, str]]:
    """(field, value in the first, value in the second), with how many of the trials in both have it so."""
    found: Counter[tuple[str, str, str]] = Counter()
    known: dict[tuple[str | None, str | None, str], tuple[tuple[str, str, str], ...]] = {}
    for one, other in pairs:
        for label in dict.fromkeys((*one.nodes, *other.nodes)):
            keys = one.nodes.get(label), other.nodes.get(label)
            if keys[0] == keys[1]:
                continue
            if (*keys, label) not in known:
                known[*keys, label] = tuple(_fields(_config(first, keys[0]), _config(second, keys[1]), label))
            found.update(known[*keys, label])
    return found


def _value_sets(first: Plan, second: Plan) -> dict[tuple[str, str, str], int]:
    """Where no trial of one is a trial of the other: the fields whose values differ anywhere."""
    left, right = _values(first), _values(second)
    paths = (path for path in dict.fromkeys((*left, *right)) if set(left.get(path, ())) != set(right.get(path, ())))
    return {(path, _few([*left.get(path, [NOTHING])]), _few([*right.get(path, [NOTHING])])): 0 for path in paths}


def _values(plan: Plan) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for node in plan.nodes.values():
        for path, text in flattened({**node.config, "seed": node.seed}, node.stage).items():
            found[path][text] = None
    return found


def _config(plan: Plan, key: str | None) -> Mapping[str, Any] | None:
    return None if key is None else {**plan.nodes[key].config, "seed": plan.nodes[key].seed}


def _fields(
    one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, label: str
) -> Iterable[tuple[str, str, str]]:
    """The paths at which two configs of a stage differ."""
    if one is None or other is None:
        there = "is there"
        yield label, NOTHING if one is None else there, NOTHING if other is None else there
        return
    stage = label.partition(".")[0]
    left, right = flattened(one, stage), flattened(other, stage)
    for path in dict.fromkeys((*left, *right)):
        if left.get(path) != right.get(path):
            yield path, left.get(path, NOTHING), right.get(path, NOTHING)


def _per_stage(plan: Plan, keys: Iterable[str]) -> dict[str, int]:
    counts = Counter(plan.nodes[key].stage for key in keys)
    return {stage: counts[stage] for stage in plan.spec.stages if counts[stage]}


def _reason(key: str, before: Plan | None, ours: Mapping[str, PlannedTrial], after: Plan) -> str:
    """Why a node is new: a field that differs from the same trial before, an input that does, or a new trial."""
    if before is None:
        return "the store holds no such sweep"
    if key in before.nodes:
        return "was to be computed before, and is not done"
    users = [after.trials[index] for index in after.uses(key)]
    named = [trial for trial in users if key in trial.nodes.values()]
    known = [(trial, ours[_levels(trial)]) for trial in named if _levels(trial) in ours]
    if not known:
        return "new trials"
    trial, old = known[0]
    label = next(name for name, found in trial.nodes.items() if found == key)
    if label not in old.nodes:
        return f"{label} is new"
    changed = [*_fields(_config(before, old.nodes[label]), _config(after, key), label)]
    if changed:
        return "; ".join(f"{path}: {one} -> {other}" for path, one, other in changed)
    behind = (before.nodes[old.nodes[label]].inputs, after.nodes[key].inputs)
    inputs = [role for role in behind[1] if str(behind[0].get(role)) != str(behind[1][role])]
    if not inputs:
        return "a VERSION or the data changed"
    return "starts from another " + ", ".join(after.nodes[behind[1][role].key].label for role in inputs)


def difference_text(told: Mapping[str, Any]) -> str:
    """For people: short lines, at most a few trials by name."""
    first, second = told["names"]
    trials, nodes = told["trials"], told["nodes"]
    lines = [f"A  {first}", f"B  {second}", "", f"trials  {trials['both']} in both"]
    for name, side in (("only_first", "A"), ("only_second", "B")):
        if trials[name]:
            lines += [
                f"        {len(trials[name])} only in {side}",
                *(f"          {text}" for text in _some(trials[name])),
            ]
    lines += ["fields  the same" if not told["fields"] else "fields  A -> B"]
    lines += [f"        {_field(item)}" for item in told["fields"]]
    lines.append(f"nodes   {nodes['both']} in both")
    for name, side in (("only_first", "A"), ("only_second", "B")):
        if nodes[name]:
            stages = ", ".join(f"{stage} {count}" for stage, count in nodes[name].items())
            lines.append(f"        {sum(nodes[name].values())} only in {side}: {stages}")
    if "new" in told:
        lines += _new_text(told["new"])
    return "\n".join(lines)


def _few(values: Sequence[str]) -> str:
    return ", ".join(_some(values))


def _some(texts: Sequence[str]) -> list[str]:
    """The first few, and how many there are beside."""
    shown = [text or "(no axes)" for text in texts[:SHOWN]]
    return shown + ([f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else [])


def _field(item: Mapping[str, Any]) -> str:
    trials = f"  ({item['trials']} trial{'' if item['trials'] == 1 else 's'})" if item["trials"] else ""
    return f"{item['field']}: {item['first']} -> {item['second']}{trials}"


def _new_text(new: Sequence[Mapping[str, Any]]) -> list[str]:
    if not new:
        return ["to run  nothing: the store has every node"]
    lines = [f"to run  {sum(item['nodes'] for item in new)} nodes that the store has not"]
    return [*lines, *(f"        {item['stage']} {item['nodes']}: {item['because']}" for item in new)]
