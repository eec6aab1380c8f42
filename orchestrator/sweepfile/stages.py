"""The stages of a sweep file: each a workload, its config, and what the orchestrator is to do with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import allowed
from orchestrator.sweepfile.comparisons import keys_that_are_no_text
from orchestrator.sweepfile.paths import OWN
from orchestrator.sweepfile.problems import Problems
from orchestrator.sweepfile.schema import fields
from orchestrator.sweepfile.yamlfile import Place, kind
from workloads.contract import SHIPPED, Workload, load_workload

MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?([a-zA-Z]+)")


@dataclass(frozen=True)
class Stage:
    """A named step: its workload and its config as written.

    Attributes:
        over: The axis whose levels' nodes it gathers; None for a stage that sees its own trial only.
        time_limit: Seconds that one of its nodes may run; None for as long as it takes. In no key.
    """

    name: str
    workload: str
    config: dict[str, Any]
    over: str | None = None
    time_limit: float | None = None

    @classmethod
    def of(cls, name: str, raw: Mapping[str, Any]) -> Stage:
        """The stage that `raw` describes; what is wrong with it has been noted before."""
        config = {key: value for key, value in raw.items() if key not in OWN}
        workload, over = (value if isinstance(value, str) else None for value in (raw.get("workload"), raw.get("over")))
        return cls(name, workload or "", config, over, seconds(raw))


def read_stages(raw: Any, stated: bool, problems: Problems) -> dict[str, dict[str, Any]]:
    """The raw stages by name, what is wrong with their own fields noted; `stated` says whether the file has any."""
    stages: dict[str, dict[str, Any]] = {}
    given = problems.mapping(("stages",), raw)
    if stated and not given and (raw is None or isinstance(raw, Mapping)):
        problems.add(("stages",), "a sweep needs at least one stage")
    for name, value in given.items():
        place = ("stages", name)
        if not _is_name(name, place, problems):
            continue
        stage = problems.mapping(place, value)
        for key in keys_that_are_no_text(stage, place):
            problems.add(key, f"expected text as a field's name, got {kind(key[-1])}; quote it")
        if isinstance(value, Mapping) or value is None:
            _own_fields(stage, place, given, problems)
        stages[name] = with_text_keys(stage)
    return stages


def with_text_keys(value: Any) -> Any:
    """A value without what stands in its mappings under other keys, which no config has."""
    if isinstance(value, Mapping):
        return {key: with_text_keys(item) for key, item in value.items() if isinstance(key, str)}
    return [with_text_keys(item) for item in value] if isinstance(value, list) else value


def _is_name(name: Any, place: Place, problems: Problems) -> bool:
    if not problems.name(place, name):
        return False
    if "." in name or name == "axes":
        problems.add(place, "a stage's name is letters, digits, '_' and '-' (and not `axes`)")
        return False
    return True


def _own_fields(stage: Mapping[Any, Any], place: Place, others: Mapping[Any, Any], problems: Problems) -> None:
    if "workload" not in stage:
        names = [name for name, other in others.items() if isinstance(other, Mapping) and "workload" in other]
        near = difflib.get_close_matches(str(place[-1]), map(str, names), n=1)
        meant = f"; did you mean stage {near[0]!r}?" if near else ""
        problems.add((*place, "workload"), f"missing; it is required: train, measure or package.module{meant}")
    elif not isinstance(stage["workload"], str):
        got = kind(stage["workload"])
        problems.add((*place, "workload"), f"expected a workload (train, measure or package.module), got {got}")
    if not isinstance(stage.get("over"), str | None):
        problems.add((*place, "over"), f"expected the name of an axis, got {kind(stage['over'])}")
    if "time_limit" in stage:
        note_time_limit(stage["time_limit"], (*place, "time_limit"), problems)


def note_time_limit(value: Any, place: Place, problems: Problems) -> None:
    """Note a time limit that is none; null is no limit."""
    if value is None or seconds({"time_limit": value}) is not None:
        return
    ways = "a positive number of seconds, or text such as 90s, 30min, 2h or 1d"
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    near = difflib.get_close_matches(found[2], UNITS, n=1, cutoff=0.3) if found and found[2] not in UNITS else []
    meant = f"; did you mean {found[1] + near[0]!r}?" if found and near else ""
    problems.add(place, f"expected {ways}, got {kind(value)}{meant}")


def seconds(raw: Mapping[str, Any]) -> float | None:
    """The time limit of a raw stage in seconds; None where it has none, or what stands there is none.

    Example:
        >>> seconds({"time_limit": "1.5h"}), seconds({"time_limit": 90}), seconds({"time_limit": "0s"}), seconds({})
        (5400.0, 90.0, None, None)
    """
    value = raw.get("time_limit")
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found and found[2] in UNITS:
        value = float(found[1]) * UNITS[found[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e10:
        return None
    return float(value)


def workload(name: str) -> Workload:
    """The workload of a stage.

    Raises:
        LookupError: there is none of that name, or its module cannot be used; says why.
    """
    if not MODULE.fullmatch(name) or (name not in SHIPPED and "." not in name):
        raise LookupError(f"unknown workload {name!r}; {allowed(name, [*SHIPPED, 'package.module'])}")
    try:
        found = load_workload(name)
    except (LookupError, TypeError) as error:
        raise LookupError(str(error.args[0] if error.args else error)) from error
    except (Exception, SystemExit) as error:  # a user's module may fail in any way, and is not to end us
        raise LookupError(f"importing {name} failed: {type(error).__name__}: {error}") from error
    if taken := [field for field in OWN if field in fields(found.config)]:
        raise LookupError(f"{name}: its config has a field {taken[0]!r}, which every stage has already; rename it")
    return found
