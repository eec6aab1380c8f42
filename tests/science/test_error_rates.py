"""Verdicts err at their stated rate: many sweeps in which a claim lies exactly at its bound, for every type of claim.

At the bound either answer is wrong as often as it can be: "supported" and "refuted" in at most 2.5 % of the sweeps,
and with Holm's correction in at most 5 % of the sweeps any claim. The default tier has a short form of 200 sweeps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy
import pyarrow
import pytest

from orchestrator.claims import judge, judge_all
from orchestrator.findings.power import power
from orchestrator.sweepfile.comparisons import ClaimSpec, Compare, Contrast, ForMost, Order

RATE, FAMILY = 0.025, 0.05
SWEEPS = 2000
AB = Compare("start", high="a", low="b")
PARTNER = 0.7  # the seeds' own effect, which pairs share


@dataclass(frozen=True)
class Setting:
    """A claim and a world in which it lies at its bound.

    Attributes:
        means: The true mean by level of `start` and of `width`.
        shared: Whether levels have the same seeds.
        exact: Whether the test's rate is the stated one, and not only below it.
        decides: Which wrong answer is as likely as it can be; "" where the claim is plainly true or false.
    """

    form: Mapping[str, Any]
    means: Sequence[Sequence[float]]
    seeds: int = 5
    shared: bool = True
    exact: Sequence[str] = ("supported", "refuted")
    wrong: Sequence[str] = ("supported", "refuted")
    deviations: Sequence[float] = field(default=(1.0, 1.0, 1.0))

    @property
    def claim(self) -> ClaimSpec:
        return ClaimSpec(name="c", says="It is so.", metric="loss", **self.form)

    def sweeps(self, count: int, seed: int) -> list[pyarrow.Table]:
        """The records of `count` sweeps."""
        starts, widths = range(len(self.means)), range(len(self.means[0]))
        rows = list(product(starts, widths, range(self.seeds)))
        levels = {
            "axis.start": ["abc"[start] for start, _, _ in rows],
            "axis.width": [width for _, width, _ in rows],
            "axis.seed": [seed + (0 if self.shared else 100 * start) for start, _, seed in rows],
            "status": ["done"] * len(rows),
        }
        draw = numpy.random.default_rng(seed)
        noise = draw.normal(size=(count, len(starts), len(widths), self.seeds))
        common = PARTNER * draw.normal(size=(count, 1, len(widths), self.seeds)) if self.shared else 0.0
        spread = numpy.array(self.deviations[: len(starts)])[:, None, None]
        values = numpy.array(self.means)[:, :, None] + spread * noise + common
        base = pyarrow.table(levels)
        return [base.append_column("metric.loss", pyarrow.array(sweep)) for sweep in values.reshape(count, -1)]


FAR = 60.0
ANY = ("supported", "refuted")
SETTINGS = {
    "at_least, paired t": Setting({"compare": AB, "at_least": 0.5}, [[0.5], [0]]),
    "at_most, paired t": Setting({"compare": AB, "at_most": -0.5}, [[-0.5], [0]]),
    "at_least, Welch's t": Setting(
        {"compare": AB, "at_least": 0.5}, [[0.5], [0]], shared=False, exact=(), deviations=(1.0, 3.0)
    ),
    "within (TOST)": Setting({"compare": AB, "within": FAR}, [[FAR], [0]]),
    "bound": Setting({"where": {"start": "a"}, "at_least": 2.0}, [[2.0]]),
    "range": Setting({"where": {"start": "a"}, "at_least": 2.0, "at_most": FAR}, [[2.0]]),
    "order, one step level": Setting(
        {"order": Order("start", ("c", "b", "a"))}, [[FAR], [0], [0]], exact=("supported",), wrong=("supported",)
    ),
    "order, all level": Setting({"order": Order("start", ("c", "b", "a"))}, [[0], [0], [0]], exact=()),
    "increasing": Setting({"increasing": "width"}, [[0, 0, FAR]], exact=("supported",), wrong=("supported",)),
    "trend": Setting({"trend": "width", "at_least": 0.5}, [[0, 0.5, 1.0]]),
    "trend, within (TOST)": Setting({"trend": "width", "within": FAR}, [[0, FAR, 2 * FAR]]),
    "contrast": Setting(
        {"contrast": Contrast("start", {"a": 1.0, "b": -0.5, "c": -0.5}), "at_most": 1.0}, [[2.0], [0.0], [2.0]]
    ),
    "decreasing, all level": Setting({"decreasing": "width"}, [[0, 0, 0, 0]], exact=()),
    "for all, one at the bound": Setting(
        {"compare": AB, "at_least": 0.0, "for_all": ("width",)}, [[0, FAR, FAR], [0, 0, 0]],
        exact=("supported",), wrong=("supported",),
    ),
    "for all, all at the bound": Setting(
        {"compare": AB, "at_least": 0.0, "for_all": ("width",)}, [[0, 0, 0], [0, 0, 0]], exact=()
    ),
    "for most, one true": Setting(
        {"compare": AB, "at_least": 0.0, "for_most": ForMost("width")}, [[FAR, 0, 0], [0, 0, 0]],
        exact=(), wrong=("supported",),
    ),
    "for most, one false": Setting(
        {"compare": AB, "at_least": 0.0, "for_most": ForMost("width")}, [[-FAR, 0, 0], [0, 0, 0]],
        exact=(), wrong=("refuted",),
    ),
    "median": Setting({"where": {"start": "a"}, "at_least": 2.0, "statistic": "median"}, [[2.0]], 8, exact=()),
    "median of pairs": Setting(
        {"compare": AB, "at_least": 0.5, "statistic": "median"}, [[0.5], [0]], 10, exact=()
    ),
    "difference of medians": Setting(
        {"compare": AB, "at_least": 0.5, "statistic": "median"}, [[0.5], [0]], 10, shared=False, exact=()
    ),
}  # fmt: skip


def slack(rate: float, sweeps: int) -> float:
    """Four standard errors of a rate that is counted over so many sweeps."""
    return 4 * math.sqrt(rate * (1 - rate) / sweeps)


def rates(setting: Setting, sweeps: int) -> dict[str, float]:
    claim = setting.claim
    counts = Counter(judge(claim, records).verdict for records in setting.sweeps(sweeps, seed=7))
    return {name: counts[name] / sweeps for name in ANY}


def check(name: str, sweeps: int) -> None:
    setting = SETTINGS[name]
    found = rates(setting, sweeps)
    print(f"{name:<28} wrongly supported {found['supported']:.2%}, wrongly refuted {found['refuted']:.2%}")
    for answer in setting.wrong:
        assert found[answer] <= RATE + slack(RATE, sweeps), answer
        assert answer not in setting.exact or found[answer] >= RATE - slack(RATE, sweeps), answer


@pytest.mark.science
@pytest.mark.parametrize("name", SETTINGS)
def test_wrong_verdicts_are_as_rare_as_said(name: str) -> None:
    check(name, SWEEPS)


@pytest.mark.parametrize("name", ["at_least, Welch's t", "for most, one true", "median of pairs"])
def test_wrong_verdicts_are_rare_in_a_short_form(name: str) -> None:
    check(name, 200)


@pytest.mark.science
def test_holm_keeps_the_rate_of_a_whole_sweep() -> None:
    """Six claims at their bounds, several on the same values, and one that is plainly true."""
    setting = Setting({}, [[0.0, 0.0, 0.0], [0.0, 0.0, FAR]])
    claims = [
        ClaimSpec("c", "So.", "loss", {"width": 0}, AB, at_least=0.0),
        ClaimSpec("c", "So.", "loss", {"width": 0}, AB, at_most=0.0),
        ClaimSpec("c", "So.", "loss", {"width": 1}, AB, at_least=0.0),
        *(ClaimSpec("c", "So.", "loss", {"start": start, "width": 1}, at_most=0.0) for start in "ab"),
        ClaimSpec("c", "So.", "loss", {"start": "a", "width": 2}, at_least=0.0),
        ClaimSpec("true", "So.", "loss", {"width": 2}, AB, at_most=0.0),
    ]
    verdicts = [judge_all(claims, records) for records in setting.sweeps(SWEEPS, seed=8)]
    raw = sum(any(item.verdict != "undecided" for item in found[:-1]) for found in verdicts) / SWEEPS
    corrected = sum(any(item.adjusted != "undecided" for item in found[:-1]) for found in verdicts) / SWEEPS
    print(f"any of 6 claims at its bound decided: {raw:.2%} alone, {corrected:.2%} after Holm's correction")
    assert corrected <= FAMILY + slack(FAMILY, SWEEPS) < raw
    assert all(found[-1].adjusted == "supported" for found in verdicts)


POWERS = {
    "bound": Setting({"where": {"start": "a"}, "at_least": 0.0}, [[2.0]]),
    "at_least, paired t, two sigma of the differences": Setting(
        {"compare": AB, "at_least": 0.0}, [[2.0 * math.sqrt(2)], [0]]
    ),
    "at_least, paired t, two sigma of a trial": Setting({"compare": AB, "at_least": 0.0}, [[2.0], [0]]),
    "at_least, Welch's t": Setting({"compare": AB, "at_least": 0.0}, [[2.0], [0]], shared=False),
    "within (TOST), margin two sigma of the differences": Setting(
        {"compare": AB, "within": 2 * math.sqrt(2)}, [[0], [0]]
    ),
    "order of three, two sigma of a trial each": Setting(
        {"order": Order("start", ("c", "b", "a"))}, [[4.0], [2.0], [0]]
    ),
    "increasing over three, two sigma of a trial each": Setting({"increasing": "width"}, [[0, 2.0, 4.0]]),
    "trend over three, two sigma of a trial each": Setting({"trend": "width", "at_least": 0.0}, [[0, 2.0, 4.0]]),
    "for all of three": Setting({"compare": AB, "at_least": 0.0}, [[2.0] * 3, [0.0] * 3]),
    "for most of three": Setting(
        {"compare": AB, "at_least": 0.0, "for_most": ForMost("width")}, [[2.0] * 3, [0.0] * 3]
    ),
}


@pytest.mark.science
def test_power_for_a_two_sigma_effect_with_five_seeds() -> None:
    found = {name: rates(setting, SWEEPS)["supported"] for name, setting in POWERS.items()}
    for name, share in found.items():
        print(f"{name:<52} {share:.0%}")
    exact = power(2, 5)
    assert abs(found["bound"] - power(2 / math.hypot(1, PARTNER), 5)) <= slack(exact, SWEEPS)
    paired = found["at_least, paired t, two sigma of the differences"]
    assert abs(paired - exact) <= slack(exact, SWEEPS)
    assert abs(found["at_least, paired t, two sigma of a trial"] - power(math.sqrt(2), 5)) <= slack(0.66, SWEEPS)
