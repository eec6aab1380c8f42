"""What a workload is: a Config goes in, a Result comes out, and a Context is all it sees of the world.

Standard library and pydantic only: the planner reads configs without loading torch.

A workload is a module with one annotated entry point, `run(config: SomeConfig, context: Context) -> Result`.
It may also define
    VERSION: int                     raised when its results change meaning (default 1)
    resolve(config, inputs)          fills what may be left out from the configs of its inputs
    split(config)                    name -> config, where one stage is several independent nodes
    array_key(config)                text that nodes share which can be computed together, or None
    run_array(jobs, hardware)        computes such nodes together; yields each as it ends
    work(config, inputs)             how much it is to compute (`workloads.work.Work`), for forecasts; None if unknown
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, get_type_hints, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from workloads.modules import import_outside_stores

if TYPE_CHECKING:
    import numpy
    import torch

    from workloads.work import Work

SHIPPED = ("train", "measure")


class Config(BaseModel):
    """A frozen, strict value; every field that determines a result is in one, nothing else is.

    `VERSION` is part of a node's key from 2 on: raise it when the same fields come to mean another result.
    `NOT_IDENTITY` names the fields that say where something lies, not what it is (a path with a fingerprint).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )
    VERSION: ClassVar[int] = 1
    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset()


class DatasetConfig(Config):
    """The base of every data set: known by a fingerprint, so that plans need no data."""

    @abstractmethod
    def fingerprint(self, data_dir: Path) -> str:
        """What identifies the content; a published checksum needs no data to be there."""

    @abstractmethod
    def missing(self, data_dir: Path) -> str | None:
        """None if the data can be loaded from `data_dir`; else one sentence: what is missing, where, how to get it."""


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Config]]:
    """A config and every config in it, each with its dotted path."""
    below: Iterable[tuple[object, Any]] = ()
    if isinstance(value, Config):
        yield path, value
        below = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, tuple | list):
        below = enumerate(value)
    for name, item in below:
        yield from walk(item, f"{path}.{name}" if path else str(name))


def _fraction(value: object) -> object:
    """Accept `2/255` where a number is meant, as papers write it."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


_FractionText = Annotated[str, Field(pattern=r"^ *[-+]?[0-9]+ */ *[0-9]+ *$")]
Real = Annotated[float, BeforeValidator(_fraction, json_schema_input_type=float | _FractionText)]
"""A float that may be written as a fraction, `2/255`."""

Outcome = Literal["done", "diverged"]


@dataclass(frozen=True)
class Result:
    """What a workload made. A result without tensors, arrays or history is a row of the store; one with them a folder.

    Attributes:
        metrics: Scalars by name; they become `metric.*` columns, float64.
        outcome: "diverged" where the computation ended in a non-finite loss: a result, not a failure.
        weights: Final parameters and buffers by their state-dict names.
        start: The same before the first step, or the role of the input whose weights they are.
        arrays: Further arrays by name.
    """

    metrics: Mapping[str, float]
    outcome: Outcome = "done"
    weights: Mapping[str, torch.Tensor] | None = None
    start: Mapping[str, torch.Tensor] | str | None = None
    arrays: Mapping[str, numpy.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """What a computation needs to go on from where it is, given its config, its inputs and its seed.

    Attributes:
        tensors: By name; kept as safetensors.
        numbers: Positions and other scalars by name.
    """

    tensors: Mapping[str, torch.Tensor]
    numbers: Mapping[str, float]


class Input(Protocol):
    """A finished node that another one starts from."""

    @property
    def key(self) -> str: ...
    @property
    def config(self) -> Config:
        """The node's own resolved config."""
        ...

    @property
    def seed(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...
    def weights(self) -> dict[str, torch.Tensor]:
        """The state dict (on the CPU) that the input names: final weights, or initial ones for `STAGE.start`."""
        ...

    def start(self) -> dict[str, torch.Tensor]:
        """The state dict (on the CPU) before the node's first step."""
        ...


@runtime_checkable
class Context(Protocol):
    """All that a running workload may ask of the world."""

    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str:
        """Where tensors go, as torch names it: "cpu", "cuda:0"."""
        ...

    @property
    def data_dir(self) -> Path: ...
    @property
    def inputs(self) -> Mapping[str, Input]:
        """Finished inputs by role: "start" for `start: {from: STAGE}`, "input" for `from: STAGE`, else a map's own."""
        ...

    def generator(self, purpose: str, step: int = 0) -> torch.Generator:
        """A fresh CPU generator of the stream (seed, purpose, step); the only source of randomness."""
        ...

    def log(self, step: int, **values: float) -> None:
        """One row of the history; shown live. Never waits."""
        ...

    def log_artifact(self, name: str, content: bytes | str | Path) -> None:
        """Keep a text, bytes or a copy of a file with the node, as `name` (`plots/loss.png`); shown in MLflow."""
        ...

    def save(self, state: Callable[[], Checkpoint]) -> None:
        """Offer a state that agrees with what was logged so far; it is asked for and kept about once a minute."""
        ...

    def restore(self) -> Checkpoint | None:
        """The last state that was kept, None if there is none; the history is what it was then."""
        ...

    def memo(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """`build()`, remembered while the nodes of this group run: what siblings share, such as a loaded snapshot."""
        ...


@dataclass(frozen=True)
class Job:
    """A node to be computed: its config and its context."""

    config: Any
    context: Context


@dataclass(frozen=True)
class Ended:
    """How a job of an array ended.

    Attributes:
        result: What it made, or the exception that ended it.
        seconds: Its share of the array's wall time.
        array: How many were computed together with it at most, itself among them.
    """

    job: Job
    result: Result | Exception
    seconds: float
    array: int


@dataclass(frozen=True)
class Hardware:
    """Where an array runs. None of it is in a key: it changes rounding and nothing else.

    Attributes:
        device: As torch names it.
        slots: How many networks at once; None to choose by measurement.
        memory: Bytes that may be used; None for what the device has free.
        measured: What was measured before, by the kind of array; asked and added to, kept by the caller.
    """

    device: str = "cpu"
    slots: int | None = None
    memory: int | None = None
    measured: MutableMapping[str, Mapping[str, float]] = field(default_factory=dict)


def stream_seed(seed: int, purpose: str, step: int = 0) -> int:
    """The 63-bit seed of the stream (seed, purpose, step): blake2b of the three, equal on every machine.

    Example:
        >>> stream_seed(0, "order", 1) == stream_seed(0, "order", 1) != stream_seed(0, "order", 2)
        True
    """
    digest = hashlib.blake2b(f"{seed}|{purpose}|{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True)
class Workload:
    """A workload as its module states it."""

    name: str
    config: type[Config]
    version: int
    run: Callable[[Any, Context], Result]
    resolve: Callable[[Any, Mapping[str, Config]], Config]
    split: Callable[[Any], Mapping[str, Config]] | None
    array_key: Callable[[Any], str | None] = lambda config: None
    run_array: Callable[[Sequence[Job], Hardware], Iterator[Ended]] | None = None
    work: Callable[[Any, Mapping[str, Config]], Work | None] = lambda config, inputs: None

    @property
    def module(self) -> str:
        return self.run.__module__


def load_workload(name: str) -> Workload:
    """The workload `name`: one of `SHIPPED`, or a user's own `package.module`.

    Raises:
        LookupError: no such module.
        TypeError: the module has no annotated `run(config, context)`.
    """
    module = _import(f"workloads.{name}" if name in SHIPPED else name)
    run = getattr(module, "run", None)
    if run is None:
        raise TypeError(
            f"{name}: a workload needs a function `run(config, context) -> Result`; {module.__file__} has none"
        )
    config = get_type_hints(run).get("config")
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise TypeError(f"{name}: annotate `run(config: YourConfig, ...)` with a subclass of workloads.contract.Config")
    return Workload(
        name=name,
        config=config,
        version=getattr(module, "VERSION", 1),
        run=run,
        resolve=getattr(module, "resolve", lambda config, inputs: config),
        split=getattr(module, "split", None),
        array_key=getattr(module, "array_key", lambda config: None),
        run_array=getattr(module, "run_array", None),
        work=getattr(module, "work", lambda config, inputs: None),
    )


def _import(path: str) -> ModuleType:
    try:
        return import_outside_stores(path)
    except ModuleNotFoundError as error:
        if error.name and path.startswith(error.name):
            raise LookupError(
                f"no workload {path!r}: shipped are {', '.join(SHIPPED)}; your own is `package.module`"
            ) from error
        raise
