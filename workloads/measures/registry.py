"""What a measure is, and how a sweep file names it: by its name, or as `{name: ..., option: ...}`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator

from workloads.contract import Config, Real

if TYPE_CHECKING:
    import numpy

    from workloads.measures.snapshot import Snapshot

MEASURES: dict[str, Measure] = {}
Function = TypeVar("Function", bound=Callable[..., Any])
TYPES: Mapping[str, Any] = {"int": int, "float": Real, "bool": bool, "str": str}
WANTED = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


@dataclass(frozen=True)
class Measured:
    """A value, and arrays to draw it from, by name.

    Attributes:
        beside: What it must not be read without, such as the residual of an eigenvalue: a metric `MEASURE_NAME` each.
    """

    value: float
    arrays: Mapping[str, numpy.ndarray] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)

    def metrics(self, name: str) -> dict[str, float]:
        """All its numbers, as the measure `name` reports them."""
        return {name: self.value, **{f"{name}_{key}": number for key, number in self.beside.items()}}


@dataclass(frozen=True)
class Measure:
    """A function of a snapshot, with where it comes from.

    Attributes:
        source: The paper and equation that define it.
        unit: What its value is counted in.
        convention: What a reader must know to compare it: l2 in the loss, batch norm in the norm, eval or train mode.
        version: Raised when its value changes meaning.
    """

    function: Callable[..., float | Measured]
    source: str
    unit: str
    convention: str
    version: int

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The inputs whose networks it looks at: its positional parameters, `snapshot` being that of `from: STAGE`."""
        parameters = inspect.signature(self.function).parameters.values()
        names = [item.name for item in parameters if item.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        return tuple("input" if name == "snapshot" else name for name in names)

    @cached_property
    def gathers(self) -> bool:
        """Whether it looks at any number of networks, `*snapshots`: those that a stage with `over` gathers."""
        parameters = inspect.signature(self.function).parameters.values()
        return any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in parameters)

    @cached_property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """Its keyword-only parameters: what a sweep file may set."""
        parameters = inspect.signature(self.function).parameters.values()
        return {item.name: item for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY}


def measure(*, source: str, unit: str, convention: str, version: int = 1) -> Callable[[Function], Function]:
    """Register `function(snapshot, *, options...) -> float`, or `-> Measured`, under its own name.

    One of (first, second) compares; one of (*snapshots) looks at all networks that a stage with `over` gathers.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        if name in MEASURES:
            raise ValueError(f"two measures are named {name}")
        MEASURES[name] = Measure(function, source, unit, convention, version)
        return function

    return register


class MeasureEntry(Config):
    """One measure of a stage, with the options that differ from its defaults."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def part_version(self) -> int:
        """The measure's own version, for the key."""
        return MEASURES[self.name].version

    @property
    def options(self) -> dict[str, Any]:
        """Its options by name."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def roles(self) -> tuple[str, ...]:
        """The inputs whose networks it looks at, where it does not look at all of them."""
        return MEASURES[self.name].roles

    def roles_of(self, inputs: Iterable[str]) -> tuple[str, ...]:
        """Those among `inputs` whose networks it looks at; gathered ones by their number: input.2 before input.10."""
        return tuple(sorted(inputs, key=_by_number)) if MEASURES[self.name].gathers else self.roles

    def __call__(self, *snapshots: Snapshot) -> float:
        """The value on the networks of its roles."""
        return self.measured(*snapshots).value

    def measured(self, *snapshots: Snapshot) -> Measured:
        """The value on the networks of its roles, with the arrays of a measure that has some."""
        found = MEASURES[self.name].function(*snapshots, **self.options)
        return found if isinstance(found, Measured) else Measured(float(found))

    @model_validator(mode="before")
    @classmethod
    def _read(cls, entry: Any) -> Any:
        """A bare name, or a mapping whose options the measure has, each of the type it says."""
        fields = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
            raise ValueError("a measure is a name, or a mapping with a name and its options")
        if fields["name"] not in MEASURES:
            raise ValueError(f"unknown measure {fields['name']!r}; {_allowed(fields['name'], MEASURES)}")
        known = MEASURES[fields["name"]].options
        read = {"name": fields["name"]}
        for option, value in fields.items():
            if option != "name":
                read.update(_option(fields["name"], known, str(option), value))
        return read


def _by_number(role: str) -> tuple[str, int]:
    name, _, number = role.rpartition(".")
    return (name, int(number)) if number.isdecimal() else (role, 0)


def _option(name: str, known: Mapping[str, inspect.Parameter], option: str, value: Any) -> dict[str, Any]:
    """The option as its measure's signature types it; {} where it is the default, which is in no key."""
    if option not in known:
        raise ValueError(f"{name} has no option {option!r}; {_allowed(option, known)}")
    kind = known[option].annotation
    try:
        read = TypeAdapter(TYPES[kind]).validate_python(value, strict=True)
    except ValidationError:
        raise ValueError(f"{name}.{option}: expected {WANTED[kind]}, got {value!r}") from None
    return {} if read == known[option].default else {option: read}


def _allowed(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, [*names], n=1)
    return f"allowed: {', '.join(names) or 'none'}" + (f"; did you mean {near[0]!r}?" if near else "")
