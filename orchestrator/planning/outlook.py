"""What `sweep plan` says: what there is, what is shared and done, and what the rest will cost."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.planning.adaptive import wanted
from orchestrator.planning.costs import Costs, learn
from orchestrator.planning.forecast import Forecast, Total, forecast
from orchestrator.planning.needs import needed
from orchestrator.storage import index
from orchestrator.terminal.wording import duration

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.running.resources import Packing, Resources
    from orchestrator.store import Outcome, Store

NAME = 24  # characters of a stage's name that the table shows
WIDTH = 80


def count_plan(plan: Plan, done: Mapping[str, Outcome]) -> dict[str, Any]:
    """Per stage its nodes, their uses by trials, how many trials share and how many are done; parts one by one."""
    plan = wanted(plan, done)
    todo = needed(plan, done)
    stages = {name: dict.fromkeys(("nodes", "uses", "shared", "done", "to_do"), 0) for name in plan.spec.stages}
    for key, node in plan.nodes.items():
        stage, uses = stages[node.stage], len(plan.uses(key))
        stage["nodes"] += 1
        stage["uses"] += uses
        stage["shared"] += uses > 1
        stage["done"] += key in done
        stage["to_do"] += key in todo
    finished = sum(all(trial.nodes[name] in done for name in trial.targets) for trial in plan.trials)
    return {
        "name": plan.spec.record_name,
        "trials": len(plan.trials),
        "trials_done": finished,
        "stages": {name: counts for name, counts in stages.items() if counts["nodes"]},
        "missing_data": missing_data(plan, todo),
    }


def missing_data(plan: Plan, todo: frozenset[str]) -> list[str]:
    """What the nodes to do lack, each sentence once."""
    return [
        *dict.fromkeys(sentence for key in plan.nodes if key in todo for sentence in plan.missing_data.get(key, ()))
    ]


def learnt(store: Store, held: index.Held) -> Costs:
    """What nodes of the store have cost."""
    fresh = [*held.unindexed.values(), *held.beside.values()]
    return learn(held.costs, ((item, index.size_of(store, item)) for item in fresh))


def outlook(plan: Plan, held: index.Held, costs: Costs, resources: Resources) -> tuple[dict[str, Any], Forecast]:
    """`count_plan` with what the rest will cost on `resources`: as JSON values, and as it was worked out."""
    from orchestrator.run import pack_plan

    shown, plan = count_plan(plan, held), wanted(plan, held)
    todo = needed(plan, held)
    packing = pack_plan(plan, held, resources)
    found = forecast(plan, todo, costs, packing)
    unit = "gpu_seconds" if found.on_gpu else "cpu_seconds"
    for name, counts in shown["stages"].items():
        cost = found.stages.get(name, Total())
        counts["arrays"] = _arrays(plan, todo, name, packing)
        counts["cost"] = {unit: cost.seconds, "spread": cost.spread, "basis": cost.basis, "at_most": cost.at_most}
    whole = found.whole
    shown["forecast"] = {
        "cpu_hours": 0.0 if found.on_gpu else whole.seconds / 3600,
        "gpu_hours": whole.seconds / 3600 if found.on_gpu else 0.0,
        "wall_seconds": found.wall,
        "spread": whole.spread,
        "basis": whole.basis,
        "at_most": whole.at_most,
        "disk_bytes": round(whole.bytes),
        "packing": str(packing) if todo else "",
    }
    return shown, found


def _arrays(plan: Plan, todo: frozenset[str], stage: str, packing: Packing) -> list[int]:
    """The sizes of the groups in which the nodes of a stage would be computed together, the largest first."""
    if not packing.arrays.on:
        return []
    alike = Counter(
        node.array for key, node in plan.nodes.items() if key in todo and node.stage == stage and node.array is not None
    )
    sizes: list[int] = []
    for count in alike.values():
        share = max(-(-count // packing.workers), packing.arrays.slots or 1)
        sizes += [min(share, count - taken) for taken in range(0, count, share)]
    return sorted(sizes, reverse=True)


def outlook_text(shown: Mapping[str, Any]) -> str:
    """A table of the stages and what the rest costs, at most 80 columns wide."""
    lines = [f"{shown['name']}: {shown['trials']} trials, {shown['trials_done']} done", ""]
    lines += _table(shown["stages"])
    coming = shown["forecast"]
    if any(counts["to_do"] for counts in shown["stages"].values()):
        lines += ["", *_coming(coming, shown["stages"])]
    lines += [f"  missing: {sentence}" for sentence in shown["missing_data"]]
    return "\n".join(lines)


def _table(stages: Mapping[str, Any]) -> list[str]:
    width = min(NAME, max([5, *map(len, stages)]))
    header = f"  {'stage':<{width}} {'nodes':>6} {'shared':>6} {'uses':>6} {'done':>6} {'to do':>6}  {'cost':<20}"
    lines = [header.rstrip()]
    for name, counts in stages.items():
        short = name if len(name) <= width else name[: width - 1] + "…"
        numbers = " ".join(f"{counts[column]:>6}" for column in ("nodes", "shared", "uses", "done", "to_do"))
        lines.append(f"  {short:<{width}} {numbers}  {_cost_text(counts) if counts['to_do'] else ''}".rstrip())
    return lines


def _cost_text(counts: Mapping[str, Any]) -> str:
    cost = counts["cost"]
    if cost["basis"] == "unknown":
        return "not known"
    seconds = cost.get("gpu_seconds", cost.get("cpu_seconds", 0.0))
    return f"{amount(seconds)} x/÷ {cost['spread']:.1f}"


def _coming(coming: Mapping[str, Any], stages: Mapping[str, Any]) -> list[str]:
    device, hours = ("GPU", coming["gpu_hours"]) if coming["gpu_hours"] else ("CPU", coming["cpu_hours"])
    lines = [f"  work  {amount(3600 * hours)} of {device} time, {basis_text(coming)}"]
    if coming["at_most"]:
        lines.append("        an upper bound: trainings that stop when they fit may end much earlier")
    at_least = "more than " if coming["basis"] == "unknown" else "about "
    lines.append(f"  wall  {at_least}{amount(coming['wall_seconds'])}")
    lines += [f"  with  {part}" for part in coming["packing"].split("; ")]
    groups = {name: counts["arrays"] for name, counts in stages.items() if counts["arrays"]}
    lines += [f"        {name}: {_groups_text(sizes)}" for name, sizes in groups.items()]
    lines.append(f"  disk  {bytes_text(coming['disk_bytes'])}")
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * 8)]


def basis_text(coming: Mapping[str, Any]) -> str:
    """How far a forecast is to be trusted."""
    says = {
        "measured": "as such nodes took here",
        "scaled": "in proportion to like nodes here",
        "estimated": "estimated: nothing like some of it ran here",
    }
    if coming["basis"] == "unknown":
        return "and that of nodes of which nothing is known"
    return f"within a factor of {coming['spread']:.1f} ({says[coming['basis']]})"


def _groups_text(sizes: Sequence[int]) -> str:
    """`2 of 6, 1 of 3`."""
    return ", ".join(f"{count} of {size}" for size, count in Counter(sizes).items())


def amount(seconds: float) -> str:
    """Short times with two digits, others as durations."""
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def bytes_text(size: float) -> str:
    """Example:
    >>> [bytes_text(size) for size in (0, 999, 16.6e6)]
    ['0 B', '999 B', '16.6 MB']
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError
