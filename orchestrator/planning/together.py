"""What several sweeps are together: nodes that more than one of them needs are there once, and cost once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.planning.adaptive import wanted
from orchestrator.planning.forecast import BASES, Total, forecast
from orchestrator.planning.needs import needed
from orchestrator.planning.outlook import amount, basis_text, learnt
from orchestrator.storage import index

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.running.resources import Resources
    from orchestrator.store import Store


def together(plans: Sequence[Plan], store: Store, resources: Resources) -> dict[str, Any]:
    """Counts by workload and the cost of all that is to do, as JSON values.

    `apart` is how many nodes the sweeps have one by one, `nodes` how many are different, `shared` how many of these
    more than one sweep has.
    """
    from orchestrator.run import pack_plan

    uses: Counter[str] = Counter()
    workloads: dict[str, str] = {}
    priced: set[str] = set()
    totals: list[Total] = []
    on_gpu = False
    for full in plans:
        held = index.look(store, full.nodes)
        plan = wanted(full, held)
        uses.update(plan.nodes.keys())
        workloads |= {key: node.workload for key, node in plan.nodes.items()}
        fresh = needed(plan, held) - priced
        found = forecast(plan, fresh, learnt(store, held), pack_plan(plan, held, resources))
        priced |= fresh
        totals.append(found.whole)
        on_gpu = on_gpu or found.on_gpu
    kinds = {
        kind: _counts([key for key, workload in workloads.items() if workload == kind], uses, priced)
        for kind in sorted(set(workloads.values()), reverse=True)
    }
    cost = _sum(totals)
    return {
        "sweeps": [plan.spec.record_name for plan in plans],
        "workloads": kinds,
        "forecast": {
            "cpu_hours": 0.0 if on_gpu else cost.seconds / 3600,
            "gpu_hours": cost.seconds / 3600 if on_gpu else 0.0,
            "spread": cost.spread,
            "basis": cost.basis,
            "at_most": cost.at_most,
            "disk_bytes": round(cost.bytes),
        },
    }


def together_text(shown: Mapping[str, Any]) -> str:
    """A line of counts for each workload, and the work."""
    lines = [f"together: {len(shown['sweeps'])} sweeps", ""]
    lines.append(f"  {'workload':<8} {'apart':>7} {'nodes':>7} {'shared':>7} {'to do':>7}")
    lines += [
        f"  {kind:<8} {counts['apart']:>7} {counts['nodes']:>7} {counts['shared']:>7} {counts['to_do']:>7}"
        for kind, counts in shown["workloads"].items()
    ]
    coming = shown["forecast"]
    device, hours = ("GPU", coming["gpu_hours"]) if coming["gpu_hours"] else ("CPU", coming["cpu_hours"])
    if hours:
        lines += ["", f"  work  {hours:,.1f} {device}-hours ({amount(3600 * hours)}), {basis_text(coming)}"]
    return "\n".join(lines)


def _counts(keys: Sequence[str], uses: Mapping[str, int], todo: set[str]) -> dict[str, int]:
    return {
        "apart": sum(uses[key] for key in keys),
        "nodes": len(keys),
        "shared": sum(uses[key] > 1 for key in keys),
        "to_do": sum(key in todo for key in keys),
    }


def _sum(totals: Sequence[Total]) -> Total:
    """Deviations of sweeps are taken to go in one direction: they rest on the same measurements."""
    seconds = sum(total.seconds for total in totals)
    unknown = any(total.spread is None for total in totals)
    deviation = sum(total.seconds * ((total.spread or 1.0) - 1) for total in totals)
    return Total(
        seconds,
        None if unknown else 1 + deviation / seconds if seconds else 1.0,
        BASES[max((BASES.index(total.basis) for total in totals), default=0)],
        any(total.at_most for total in totals),
        sum(total.bytes for total in totals),
    )
