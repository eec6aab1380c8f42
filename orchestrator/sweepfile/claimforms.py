"""The forms that a claim can take, and what may not stand together in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.findings.notation import is_fraction
from orchestrator.sweepfile.axes import SEED, identity

if TYPE_CHECKING:
    from orchestrator.sweepfile.comparisons import ClaimSpec, Compare, Contrast, Known, Order
    from orchestrator.sweepfile.problems import Problems
    from orchestrator.sweepfile.yamlfile import Place

FORMS = ("compare", "trend", "contrast", "increasing", "decreasing", "order")
BOUNDED = ("compare", "trend", "contrast")  # those that say how large something is
BOUNDS = ("at_least", "at_most", "within")


def check_claim(claim: ClaimSpec, known: Known, place: Place, problems: Problems) -> None:
    """Note what is wrong with a claim, apart from its `where`."""
    _check_form(claim, place, problems)
    _check_unit(claim, place, problems)
    if claim.compare:
        _check_compare(claim.compare, claim, known, (*place, "compare"), problems)
    if claim.order:
        _check_order(claim.order, claim, known, (*place, "order"), problems)
    if claim.contrast:
        _check_contrast(claim.contrast, claim, known, (*place, "contrast"), problems)
    for form in ("trend", "increasing", "decreasing"):
        axis = getattr(claim, form)
        if axis is not None:
            known.axis(axis, (*place, form), problems)
    _check_quantifiers(claim, known, place, problems)


def _check_form(claim: ClaimSpec, place: Place, problems: Problems) -> None:
    forms = [form for form in FORMS if getattr(claim, form) is not None]
    bounds = [bound for bound in BOUNDS if getattr(claim, bound) is not None]
    if len(forms) > 1 or not forms + bounds:
        got = " and ".join(forms) or "none of them"
        problems.add(place, f"a claim has one of {', '.join(FORMS)}, or a bound of the metric itself; got {got}")
    elif forms and forms[0] not in BOUNDED and bounds:
        problems.add((*place, bounds[0]), f"{forms[0]} takes no bound; {', '.join(BOUNDED)} do")
    elif (forms and forms[0] in BOUNDED and not bounds) or ("within" in bounds and len(bounds) > 1):
        got = " and ".join(bounds) or "none of them"
        problems.add(place, f"{(forms or ['within'])[0]} needs at_least, at_most or both, or within; got {got}")
    elif not forms and "within" in bounds:
        problems.add((*place, "within"), "a margin around no difference; the metric itself takes at_least and at_most")
    if claim.within is not None and claim.within <= 0:
        problems.add((*place, "within"), f"must be more than 0, got {claim.within}")
    if claim.at_least is not None and claim.at_most is not None and claim.at_least >= claim.at_most:
        problems.add((*place, "at_most"), f"must be more than at_least, {claim.at_least:g}; got {claim.at_most:g}")


def _check_unit(claim: ClaimSpec, place: Place, problems: Problems) -> None:
    """An accuracy, and a difference of two, is at most 1: a bound of 15 was meant to be 15 points."""
    if claim.contrast or not is_fraction(claim.metric):
        return
    for bound in BOUNDS:
        value = getattr(claim, bound)
        if value is not None and abs(value) > 1:
            unit = "points" if claim.compare or claim.trend else "%"
            message = f"{claim.metric} is a fraction of 1: {value:g} {unit} are {value / 100:g}"
            problems.add((*place, bound), message)


def _check_compare(compare: Compare, claim: ClaimSpec, known: Known, place: Place, problems: Problems) -> None:
    if not known.axis(compare.axis, (*place, "axis"), problems):
        return
    for side in ("high", "low"):
        known.level(compare.axis, getattr(compare, side), (*place, side), problems)
    if identity(compare.high) == identity(compare.low):
        problems.add((*place, "low"), "high and low are the same level")
    _check_open(compare.axis, "compared", claim, (*place, "axis"), problems)


def _check_order(order: Order, claim: ClaimSpec, known: Known, place: Place, problems: Problems) -> None:
    if not known.axis(order.axis, (*place, "axis"), problems):
        return
    for index, label in enumerate(order.levels):
        known.level(order.axis, label, (*place, "levels", index), problems)
    labels: list[Any] = [identity(label) for label in order.levels]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            problems.add((*place, "levels", index), f"{order.levels[index]!r} stands twice")
    if len(labels) < 2:
        problems.add((*place, "levels"), "an order needs at least two levels")
    _check_open(order.axis, "ordered", claim, (*place, "axis"), problems)


def _check_contrast(contrast: Contrast, claim: ClaimSpec, known: Known, place: Place, problems: Problems) -> None:
    if not known.axis(contrast.axis, (*place, "axis"), problems):
        return
    levels = known.levels.get(contrast.axis, {}).values()
    for text in contrast.weights:  # what stands before a colon is text here
        label = next((level for level in levels if str(level).lower() == text.lower()), text)
        known.level(contrast.axis, label, (*place, "weights", text), problems)
    if not any(contrast.weights.values()):
        problems.add((*place, "weights"), "a contrast needs a level whose weight is not 0")
    _check_open(contrast.axis, "contrasted", claim, (*place, "axis"), problems)


def _check_open(axis: str, what: str, claim: ClaimSpec, place: Place, problems: Problems) -> None:
    if axis in claim.where:
        problems.add(place, f"axis {axis!r} is {what}, so `where` cannot choose its level")


def _check_quantifiers(claim: ClaimSpec, known: Known, place: Place, problems: Problems) -> None:
    """`for_all` and `for_most` name axes that are left open, each once."""
    named: list[tuple[str, Place]] = [(axis, (*place, "for_all", index)) for index, axis in enumerate(claim.for_all)]
    if claim.for_most:
        share = claim.for_most.share
        if share is not None and not 0 < share <= 1:
            problems.add((*place, "for_most", "share"), f"must be more than 0 and at most 1, got {share}")
        named.append((claim.for_most.axis, (*place, "for_most", "axis")))
    along = {claim.trend, claim.increasing, claim.decreasing, claim.contrast and claim.contrast.axis}
    along |= {claim.compare and claim.compare.axis, claim.order and claim.order.axis}
    seen: set[str] = set()
    for axis, here in named:
        if not known.axis(axis, here, problems):
            continue
        if axis in along:
            problems.add(here, f"axis {axis!r} is the one that the claim compares along")
        elif axis == SEED:
            problems.add(here, "seeds are what a claim is tested over; name another axis")
        elif axis in seen:
            problems.add(here, f"axis {axis!r} stands twice")
        elif axis in claim.where and not isinstance(claim.where[axis], tuple | list):
            problems.add(here, f"`where` fixes axis {axis!r} to one level; give it a list there, or leave it out")
        seen.add(axis)
