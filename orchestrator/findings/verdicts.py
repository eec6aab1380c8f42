"""Verdicts for people and for programs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.claims import SIGNS

if TYPE_CHECKING:
    from orchestrator.claims import Verdict


def render_verdicts(verdicts: Sequence[Verdict], format: Literal["text", "json"] = "text") -> str:
    """The verdicts for people or for programs."""
    if format == "json":
        values = [{name: _plain(value) for name, value in asdict(verdict).items()} for verdict in verdicts]
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    return "\n".join(_lines(verdict, len(verdicts)) for verdict in verdicts)


def _plain(value: Any) -> Any:
    """JSON has no infinity: an interval that is open on one side has null there."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(verdict: Verdict, claims: int) -> str:
    head = f"{SIGNS[verdict.verdict]} {verdict.verdict:<9}  {verdict.name}: {verdict.says}"
    said = [_numbers(verdict), verdict.why, correction(verdict, claims)]
    return "\n".join([head, *(f"    {line}" for line in filter(None, said))])


def _numbers(verdict: Verdict) -> str:
    parts = [verdict.criterion]
    if verdict.estimate is not None:
        at = f" at {verdict.combination}" if verdict.combination else ""
        parts.append(f"found {verdict.found}, n={verdict.n}{at} ({verdict.test})")
    return ": ".join(parts)


def correction(verdict: Verdict, claims: int) -> str:
    """What Holm's correction for all claims of the sweep takes away from a verdict; "" for nothing."""
    if verdict.adjusted == verdict.verdict:
        return ""
    return (
        f"after Holm's correction for the {claims} claims of the sweep: {verdict.adjusted} (p = {verdict.p:.2g} alone)"
    )


def tally(verdicts: Sequence[Verdict]) -> str:
    """How many claims have each verdict, alone and after Holm's correction; "" for fewer than two.

    Example of its form:
        4 claims: 2 supported, 2 undecided; after Holm's correction for all of them 1 supported, 3 undecided.
    """
    if len(verdicts) < 2:
        return ""
    alone, corrected = (_counted(getattr(verdict, which) for verdict in verdicts) for which in ("verdict", "adjusted"))
    after = f"; after Holm's correction for all of them {corrected}" if corrected != alone else ""
    return f"{len(verdicts)} claims: {alone}{after}."


def _counted(judgements: Iterable[str]) -> str:
    counts = Counter(judgements)
    return ", ".join(f"{counts[name]} {name}" for name in SIGNS if counts[name])
