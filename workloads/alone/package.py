"""A package: the nodes to compute, inputs first, and what is known of the finished ones that they start from.

    DIR/nodes.json              the package; JSON
    DIR/inputs/KEY/*            the weights files of finished inputs

Loads without torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from workloads.contract import Config, DatasetConfig, Workload, load_workload, walk

FORMAT = 1
NODES, RESULT, HISTORY = "nodes.json", "result.json", "history.json"
WEIGHTS, START, ARRAYS = "weights.safetensors", "start.safetensors", "arrays.npz"
ARTIFACTS = "artifacts.zip"
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class PackageError(Exception):
    """The request was wrong, or a file is not what it should be: exit code 2."""


Key = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Number = Annotated[
    float,
    BeforeValidator(lambda value: _WORDS.get(value, value) if isinstance(value, str) else value),
    PlainSerializer(lambda value: value if math.isfinite(value) else str(value)),
]
"""A float; where it is not finite, JSON has the word nan, inf or -inf."""


class Record(BaseModel):
    """A frozen, strict value that lies in a JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


T = TypeVar("T", bound=Record)


class Reference(Record):
    """The node behind a role, and whether its final or its initial weights are meant."""

    key: Key
    part: Literal["end", "start"] = "end"

    def __str__(self) -> str:
        return self.key if self.part == "end" else f"{self.key}.{self.part}"


class PackageNode(Record):
    """A node to compute.

    Attributes:
        label: The stage that named it, and its part; for people only.
        array: Equal for nodes of one workload that can be computed together; None for those that cannot.
        siblings: Equal for the nodes that share what they memoize.
        parts: Of its config: VERSIONs other than 1 and fingerprints of data, by dotted path.
    """

    key: Key
    label: str
    workload: str
    config: dict[str, Any]
    seed: int
    inputs: dict[str, Reference]
    siblings: str
    array: str | None
    parts: dict[str, str]


class Finished(Record):
    """A node that is computed.

    Attributes:
        start: `KEY` or `KEY.start` of the weights that it started from; None if it holds its own.
        files: sha256 by name.
    """

    key: Key
    workload: str
    config: dict[str, Any]
    seed: int
    metrics: dict[str, Number]
    start: str | None = Field(pattern=r"^[0-9a-f]{40}(\.start)?$")
    files: dict[Literal["weights.safetensors", "start.safetensors", "arrays.npz", "history.json", "artifacts.zip"], str]


class Computed(Finished):
    """What `result.json` says.

    Attributes:
        seconds: Wall time, or its share of the array's.
        meta: Host, device, versions, times: everything that may differ between equal results.
        removed: Files that were there and are no longer kept; `files` does not name them.
    """

    status: Literal["done", "diverged"]
    seconds: float
    meta: dict[str, str | int | float | bool | None]
    removed: list[str] = []


class Failed(Record):
    """What `failed/KEY.json` says: why a node has no result."""

    key: Key
    error: str
    traceback: str
    meta: dict[str, str | int | float | bool | None]


class Code(Record):
    """The code that a package was made by: its commit ("" outside a checkout) and the digest of `workloads`."""

    commit: str
    dirty: bool
    digest: str


class Package(Record):
    """What `nodes.json` says: `nodes` to compute, each after its inputs; `finished` ones they start from."""

    format: Literal[1]
    code: Code
    nodes: list[PackageNode]
    finished: list[Finished]

    @cached_property
    def by_key(self) -> dict[str, PackageNode]:
        return {node.key: node for node in self.nodes}


def dump(record: Record) -> str:
    """Strict JSON."""
    return json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False)


def load(kind: type[T], path: Path) -> T:
    """The record in a file.

    Raises:
        PackageError: there is none, or it is not of that kind.
    """
    try:
        return kind.model_validate(json.loads(path.read_bytes(), parse_constant=_refuse))
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise PackageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{path}: not JSON as it should be ({error})") from error


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def read_package(folder: Path) -> Package:
    """The package in a folder, each node's inputs checked to come before it.

    Raises:
        PackageError: it holds none of this format.
    """
    path = folder / NODES
    if not path.is_file():
        raise PackageError(f"{folder}: not a package: it has no {NODES}; `sweep export SPEC DIR` makes one")
    _check_format(path)
    package = load(Package, path)
    seen = {item.key for item in package.finished}
    for item in package.finished:
        if item.start is not None and item.start.partition(".")[0] not in seen:
            raise PackageError(f"{path}: {item.key} started from {item.start}, which is not in the package")
    for node in package.nodes:
        if lacking := {ref.key for ref in node.inputs.values()} - seen:
            raise PackageError(f"{path}: {node.key} comes before its input {', '.join(sorted(lacking))}")
        if node.key in seen:
            raise PackageError(f"{path}: {node.key} stands twice")
        seen.add(node.key)
    return package


def _check_format(path: Path) -> None:
    try:
        found = json.loads(path.read_bytes()).get("format")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise PackageError(f"{path}: not a package ({error})") from error
    if found != FORMAT:
        raise PackageError(f"{path}: written in package format {found}; this version reads {FORMAT}")


def parse(node: PackageNode | Finished) -> tuple[Workload, Config]:
    """A node's workload and config.

    Raises:
        PackageError: this code has no such workload, or its config has other fields.
    """
    try:
        workload = load_workload(node.workload)
        return workload, workload.config.model_validate_json(json.dumps(node.config))
    except (LookupError, TypeError, ValueError) as error:
        raise PackageError(f"{node.key} ({node.workload}): not of this version of the code: {error}") from error


def parts(workload: Workload, config: Config, data_dir: Path) -> dict[str, str]:
    """What of the code and the data a node's result depends on besides its config; empty where all VERSIONs are 1."""
    found = {"VERSION of the workload": str(workload.version)} if workload.version != 1 else {}
    for path, part in walk(config):
        version = getattr(part, "part_version", type(part).VERSION)
        if version != 1:
            found[f"VERSION of {path or 'the config'}"] = str(version)
        if isinstance(part, DatasetConfig):
            found[f"fingerprint of {path}"] = part.fingerprint(data_dir)
    return found


def code_digest() -> str:
    """sha256 of the sources of `workloads`: whether two machines have the same."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def verified(path: Path, expected: str) -> bytes:
    """The bytes of a file.

    Raises:
        PackageError: it is missing, or its sha256 is another.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise PackageError(f"{path}: damaged (checksum differs)")
    return content
