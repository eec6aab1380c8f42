"""2,000 trials on simulated machines, through the real planner, frontier and store; `benchmarks/scale.py`, smaller."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass

import pytest

from orchestrator import record
from orchestrator.frontier import Frontier
from orchestrator.plan import Plan
from orchestrator.planning.costs import Costs
from orchestrator.planning.forecast import Pricing
from orchestrator.planning.needs import urgencies
from orchestrator.storage import index
from orchestrator.storage.leases import Leases
from orchestrator.store import Store
from tests.simulated.cluster import TICK, Clock, Fate, Machines, Simulation, Trace
from tests.simulated.rivals import InTurn, lower_bound
from tests.simulated.sweep import Committing, planned

TRIALS, MACHINES, GPUS = 2000, 8, 8


@dataclass(frozen=True, repr=False)  # pytest shows what it asserts of
class Ran:
    """A sweep that was run on simulated machines."""

    plan: Plan
    expected: dict[str, float]
    fate: Fate
    frontier: Frontier
    store: Store
    committing: Committing
    trace: Trace
    rival: Trace


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("scale")
    plan = planned(folder, TRIALS)
    pricing = Pricing(Costs(), "cuda")
    expected = {key: pricing.of(node).seconds for key, node in plan.nodes.items()}
    fate = Fate.drawn(plan, expected, seed=1, failing=0.003, crashing=0.02)
    store, clock, machines = Store.at(folder / "store").prepare(), Clock(), Machines(MACHINES, GPUS, hours=2.0)
    committing = Committing(store, every=100)
    with Leases(store) as leases:
        frontier = Frontier(plan, {}, leases, MACHINES * GPUS, seconds=expected, clock=clock)
        trace = Simulation(plan, frontier, clock, machines, fate, committing.outcome, committing).run()
        assert not [*store.root.glob("work/leases/*")]
    clock, told = Clock(), lambda outcomes, failures: outcomes
    rival = Simulation(plan, InTurn(plan), clock, machines, fate, committing.outcome, told).run()
    return Ran(plan, expected, fate, frontier, store, committing, trace, rival)


def test_every_trial_ends_once_whatever_befell_it(ran: Ran):
    assert ran.trace.taken_away > MACHINES, "each machine about twice"
    assert ran.trace.crashed > 50
    assert set(ran.committing.times.values()) == {1}, "nothing was computed twice"
    rows = record.rows(ran.plan, ran.frontier.done, ran.frontier.failures)
    assert len(set(rows.column("meta.trial").to_pylist())) == rows.num_rows == TRIALS
    assert set(Counter(rows.column("status").to_pylist())) == {"done", "failed"}
    behind = {key for key in ran.plan.nodes if fails(ran, key)}
    assert ran.frontier.failures.keys() | ran.frontier.skipped.keys() == behind, "no other, for whatever reason"
    assert ran.frontier.failures.keys() == ran.fate.failing - ran.frontier.skipped.keys()


def fails(ran: Ran, key: str) -> bool:
    """Whether a node is drawn to fail, or starts from one that does."""
    return key in ran.fate.failing or any(fails(ran, ref.key) for ref in ran.plan.nodes[key].inputs.values())


def test_the_store_has_what_the_frontier_has(ran: Ran):
    assert ran.committing.rows > 1000
    assert ran.committing.folders > 5
    same = index.known(ran.store, ran.plan.nodes) == ran.frontier.done
    assert same


def test_inputs_begin_before_what_starts_from_them(ran: Ran):
    """That they have ended is seen to by the simulation, each time a node begins."""
    first: dict[str, float] = {}
    for when, key in ran.trace.started:
        first.setdefault(key, when)
    assert first.keys() == ran.frontier.done.keys() | ran.frontier.failures.keys()
    ends = {key: first[key] + (ran.fate.seconds[key] if key not in ran.fate.crashing else 0.0) for key in first}
    for key in first:
        assert all(first[key] >= first[ref.key] for ref in ran.plan.nodes[key].inputs.values())
        assert ends[key] <= ran.trace.makespan + 1e-6


def test_the_longest_chains_begin_first(ran: Ran):
    chains = urgencies(ran.plan, ran.expected)
    roots = [key for _, key in ran.trace.started if not ran.plan.nodes[key].inputs]
    first = [chains[key][0] for key in dict.fromkeys(roots)]
    assert first == sorted(first, reverse=True), "those that take next to nothing before all"
    longest = max(chain for chain, _ in chains.values() if chain < math.inf)
    assert longest == next(chain for chain in first if chain < math.inf)


def test_trials_finish_all_along(ran: Ran):
    """A measure is not put off until all trainings have ended, but begins with the next report."""
    begun = {key: when for when, key in ran.trace.started}
    measures = [node for node in ran.plan.nodes.values() if node.workload == "measure" and node.key in begun]
    trained = [ref.key for node in measures for ref in node.inputs.values()]
    waits = [begun[node.key] - begun[key] - ran.fate.seconds[key] for node, key in zip(measures, trained, strict=True)]
    assert statistics.median(waits) < 10 * TICK


def test_it_ends_sooner_than_handed_out_in_turn_and_near_what_no_order_can_beat(ran: Ran):
    seconds = {key: ran.fate.seconds[key] for key in (*ran.frontier.done, *ran.frontier.failures)}
    bound = lower_bound(ran.plan, seconds, MACHINES * GPUS)
    assert bound < ran.trace.makespan < 1.1 * bound, "in virtual seconds: the same on every machine"
    assert ran.trace.makespan < ran.rival.makespan
    assert ran.trace.utilization > 0.95
