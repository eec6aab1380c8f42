"""What `python -m workloads run` is asked to do, checked before anything is computed or written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workloads.alone.package import (
    NODES,
    Finished,
    Package,
    PackageError,
    PackageNode,
    parse,
    parts,
    read_package,
    verified,
    walk,
)
from workloads.contract import Config, DatasetConfig, Workload

Keep = Literal["none", "needed", "all"]


@dataclass(frozen=True)
class Request:
    """One call.

    Attributes:
        array: How many to compute together: "off" one at a time, "auto" on a GPU as many as measurement finds best.
        minutes: When to stop; None for when all is done.
        weights: Which tensors stay in `out`: all; needed: what nothing in the package starts from; none.
    """

    package: Path
    out: Path
    data_dir: Path
    device: str = "cpu"
    array: int | Literal["off", "auto"] = "auto"
    minutes: float | None = None
    weights: Keep = "all"

    @property
    def together(self) -> bool:
        """Whether arrays are computed at all."""
        return self.array not in ("off", 1) and (self.array != "auto" or self.device.startswith("cuda"))

    @property
    def slots(self) -> int | None:
        return self.array if isinstance(self.array, int) else None


@dataclass(frozen=True)
class Work:
    """A package that this machine can compute: each node with its workload and config."""

    package: Package
    parsed: Mapping[str, tuple[Workload, Config]]

    def missing_data(self, left: frozenset[str], data_dir: Path) -> list[str]:
        """What the nodes in `left` lack, each sentence once."""
        found = [
            part.missing(data_dir)
            for key, (_, config) in self.parsed.items()
            if key in left
            for _, part in walk(config)
            if isinstance(part, DatasetConfig)
        ]
        return [*dict.fromkeys(sentence for sentence in found if sentence)]


def prepare(request: Request) -> Work:
    """Read and check the package.

    Raises:
        PackageError: this is no such package, it is damaged, it is of other code, or the device is not there.
    """
    package = read_package(request.package)
    _check_device(request.device)
    parsed = {node.key: parse(node) for node in package.nodes}
    for item in package.finished:
        _check_finished(request.package, item)
    return Work(package, parsed)


def check_data(request: Request, work: Work, left: frozenset[str]) -> None:
    """Refuse data that is missing, or other than what the keys in `left` stand for.

    Raises:
        PackageError: it is.
    """
    if lacking := work.missing_data(left, request.data_dir):
        raise PackageError("\n".join(lacking))
    for node in work.package.nodes:
        if node.key in left:
            _check_parts(node, parts(*work.parsed[node.key], request.data_dir))


def _check_parts(node: PackageNode, here: Mapping[str, str]) -> None:
    for name in sorted(node.parts.keys() | here.keys()):
        theirs, ours = node.parts.get(name, "1"), here.get(name, "1")
        if theirs != ours:
            raise PackageError(f"{node.key} ({node.label}): {name} is {ours} here, {theirs} in the package")


def _check_finished(folder: Path, item: Finished) -> None:
    parse(item)
    for name, digest in item.files.items():
        verified(folder / "inputs" / item.key / name, digest)


def _check_device(device: str) -> None:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise PackageError(f"--device {device}: allowed: cpu, cuda, cuda:0 ...")
    if device == "cpu":
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise PackageError(f"--device {device}: torch sees {count} GPUs here")


def package_bytes(request: Request) -> bytes:
    """`nodes.json` as it is."""
    return (request.package / NODES).read_bytes()
