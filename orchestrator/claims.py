"""Records -> verdicts: supported where the 95 % interval lies inside the claim, refuted wholly outside, or undecided.

A claim is judged for every combination of the axes that its `where` leaves open (all but the seed), each a case. It
must hold in all of them, or with `for_most` in all those of at least that share of an axis' levels. "Supported" and
"refuted" are each wrong in at most 2.5 % of sweeps, however many cases there are: "all hold" is the largest of their
p-values, "one does not" Bonferroni's, "at least r of m" the partial conjunction's (`statistics.conjunction`). Only a
claim with two bounds that are nearer to each other than the interval is wide is refuted wrongly in up to 5 %.

Differences are paired by seed where two levels share seeds: trials with one seed share initial weights and data order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.findings import power, statistics
from orchestrator.findings.cases import Undecidable, axis_of, bound_of, cases
from orchestrator.findings.evidence import ALPHA, PERCENT, Case, Judgement, judgement
from orchestrator.findings.levels import level_text
from orchestrator.findings.notation import interval_text
from orchestrator.record import ADAPTIVE

if TYPE_CHECKING:
    import pyarrow

    from orchestrator.spec import ClaimSpec

SEQUENTIAL = ", sequential (adaptive seeds)"
SIGNS = {"supported": "✓", "refuted": "✗", "undecided": "?"}


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim; the numbers are those of the combination that decides it.

    Attributes:
        criterion: The claim as a formula, such as `test_accuracy: random - adversarial >= 15.00 points`.
        estimate: The mean (difference) with its interval `low` .. `high`; None where there are too few values.
        n: Values or pairs behind the estimate; of two samples those of the smaller.
        why: What stands against a stronger verdict, and how many combinations were judged.
        combination: The levels for which the estimate holds, "" if there is only one combination.
        difference: Whether the estimate is one of differences.
        p: The two-sided p-value of the verdict: twice the smaller of those of support and refutation.
        more: With so many seeds more it would be decided with 80 % power, as far as can be told.
        adjusted: The verdict after Holm's correction for all claims of the sweep.
    """

    name: str
    says: str
    verdict: Judgement
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    test: str
    why: str
    metric: str
    criterion: str
    combination: str
    difference: bool = False
    p: float = 1.0
    more: int | None = None
    adjusted: Judgement = "undecided"

    @property
    def found(self) -> str:
        """The estimate with its interval and unit."""
        if self.estimate is None:
            return "nothing yet"
        return interval_text(self.estimate, self.low, self.high, self.metric, self.difference)


def judge_all(claims: Iterable[ClaimSpec], records: pyarrow.Table) -> list[Verdict]:
    """The verdicts on the claims of a sweep, each with the one that Holm's correction for all of them leaves."""
    found = [judge(claim, records) for claim in claims]
    corrected = statistics.holm([verdict.p for verdict in found])
    return [
        replace(verdict, adjusted=verdict.verdict if p <= 2 * ALPHA else "undecided")
        for verdict, p in zip(found, corrected, strict=True)
    ]


def judge(claim: ClaimSpec, records: pyarrow.Table) -> Verdict:
    """The verdict on a claim by itself; a pure function of the records, which may be those of a sweep that still runs.

    Forms: the metric itself, or by seed `compare` (the difference high - low), `trend` (the slope over the levels'
    ranks) or `contrast` (a weighted sum over levels), with `at_least`, `at_most` or both; the last three also with
    `within` (an equivalence test); `order`, `increasing` and `decreasing` (every difference of adjacent levels, in
    numeric order where they are numbers, is above or below 0).
    """
    sequential = SEQUENTIAL if ADAPTIVE in records.column_names else ""
    nothing = Verdict(
        name=claim.name, says=claim.says, metric=claim.metric, criterion=_criterion(claim), verdict="undecided",
        estimate=None, low=None, high=None, n=0, test="", why="", combination="",
    )  # fmt: skip
    try:
        units = _units(claim, cases(claim, records))
    except Undecidable as reason:
        return replace(nothing, why=str(reason), test=f"t over seeds, {PERCENT}{sequential}")
    support, refutation = _p_values(claim, units)
    said = judgement(support, refutation)
    worst = _deciding(claim, units, said)
    interval = worst.interval
    more, advice = _more(worst, sum(map(len, units))) if said == "undecided" else (None, "")
    return replace(
        nothing,
        verdict=said,
        estimate=worst.center,
        low=interval and interval.low,
        high=interval and interval.high,
        n=worst.n,
        test=f"{worst.test}{sequential}",
        why="; ".join(filter(None, [*worst.reasons, *_correction(worst, said), advice, _tally(claim, units)])),
        combination=worst.label,
        difference=axis_of(claim) is not None,
        p=min(1.0, 2 * min(support, refutation)),
        more=more,
        adjusted=said,
    )


_Unit = Sequence[Case]
"""The cases of one level of the axis of `for_most`; without it there is one unit a case."""


def _units(claim: ClaimSpec, found: Sequence[Case]) -> list[_Unit]:
    if claim.for_most is None:
        return [(case,) for case in found]
    units: dict[object, list[Case]] = {}
    for case in found:
        units.setdefault(case.levels[claim.for_most.axis], []).append(case)
    return list(units.values())


def _needed(claim: ClaimSpec, count: int) -> int:
    """In how many of `count` units the claim must hold."""
    if claim.for_most is None:
        return count
    share = claim.for_most.share
    return count // 2 + 1 if share is None else max(1, math.ceil(share * count - 1e-9))


def _support(unit: _Unit) -> float:
    return max(case.p_values[0] for case in unit)


def _refutation(unit: _Unit) -> float:
    return statistics.conjunction([case.p_values[1] for case in unit], 1)


def _p_values(claim: ClaimSpec, units: Sequence[_Unit]) -> tuple[float, float]:
    """Of "it holds in as many units as needed" and of "it fails in more than it may"."""
    needed = _needed(claim, len(units))
    support = statistics.conjunction([_support(unit) for unit in units], needed)
    return support, statistics.conjunction([_refutation(unit) for unit in units], len(units) - needed + 1)


def _deciding(claim: ClaimSpec, units: Sequence[_Unit], said: Judgement) -> Case:
    """The case on which it hangs: where it must hold in r units, the worst of the r-th best one."""
    if said == "refuted":
        ordered = sorted(units, key=lambda unit: (-_refutation(unit), -min(case.margin for case in unit)))
        unit = ordered[_needed(claim, len(units)) - 1]
        return min(unit, key=lambda case: (case.p_values[1], case.margin))
    ordered = sorted(units, key=lambda unit: (_support(unit), -min(case.margin for case in unit)))
    unit = ordered[_needed(claim, len(units)) - 1]
    return min(unit, key=lambda case: (-case.p_values[0], case.margin))


def _correction(case: Case, said: Judgement) -> list[str]:
    """Why a case that would decide it alone does not."""
    if said != "undecided" or case.judgement == "undecided":
        return []
    return [f"{case.judgement} there at {PERCENT}, but not after the correction for several cases"]


def _more(case: Case, count: int) -> tuple[int | None, str]:
    """How many more seeds would decide the case, and how to say so."""
    found, center = case.found, case.center
    if case.dropped or found is None or center is None:
        return None, ""
    inside = case.bound.low < center < case.bound.high
    wanted = power.seeds_needed(found, case.bound.margins(center), ALPHA if inside else ALPHA / count)
    if wanted is None:
        return None, f"too near the bound to be decided with {power.MOST} seeds"
    more = wanted - case.n
    return (
        more,
        f"too few seeds: about {more} more ({wanted} in all) for {100 * power.POWER:.0f} % power at this spread",
    )


def _criterion(claim: ClaimSpec) -> str:
    along = (axis_of(claim) or "").rpartition(".")[2]
    metric = f"median {claim.metric}" if claim.statistic == "median" else claim.metric
    if claim.increasing or claim.decreasing:
        text = f"{metric} {'increases' if claim.increasing else 'decreases'} along {along}"
    elif claim.order:
        text = f"{metric}, {along} {' < '.join(level_text(level) for level in claim.order.levels)}"
    else:
        text = f"{metric}{_bounded(claim, along)} {bound_of(claim).text(claim.metric, bool(along))}"
    quantifiers = [f"for all {axis.rpartition('.')[2]}" for axis in claim.for_all]
    if claim.for_most:
        share = "most" if claim.for_most.share is None else f"at least {100 * claim.for_most.share:g} % of"
        quantifiers.append(f"for {share} {claim.for_most.axis.rpartition('.')[2]}")
    return ", ".join([text, *quantifiers])


def _bounded(claim: ClaimSpec, along: str) -> str:
    """What of the metric lies in the bound; "" for itself."""
    if claim.compare:
        return f", {along} {level_text(claim.compare.high)} − {level_text(claim.compare.low)}"
    if claim.contrast:
        terms = [
            f"{'−' if weight < 0 else '+'} {abs(weight):g} {text}" for text, weight in claim.contrast.weights.items()
        ]
        return f", {along} {' '.join(terms).removeprefix('+ ')}"
    return f" a level of {along}" if claim.trend else ""


def _tally(claim: ClaimSpec, units: Sequence[_Unit]) -> str:
    if len(units) == 1 and len(units[0]) == 1:
        return ""
    judged = [judgement(_support(unit), _refutation(unit)) for unit in units]
    counts = Counter(judged)
    what = f"levels of {claim.for_most.axis.rpartition('.')[2]}" if claim.for_most else "cases"
    needed = f" ({_needed(claim, len(units))} needed)" if claim.for_most else ""
    said = ", ".join(f"{counts[name]} {name}" for name in SIGNS if counts[name])
    return f"{len(units)} {what}{needed}: {said}"
