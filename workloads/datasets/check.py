"""What `sweep data check` says: which data sets are there, and whether their checksums are right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workloads.datasets import cifar, mnist
from workloads.datasets.folders import CINIC10, RestrictedImageNet
from workloads.datasets.published import Published
from workloads.datasets.restricted32 import Restricted32

KNOWN: dict[str, Published | None] = {
    "digits": None,
    "mnist": mnist.PUBLISHED,
    "cifar10": cifar.PUBLISHED10,
    "cifar100": cifar.PUBLISHED100,
}
BY_LOOKING = {"cinic10": CINIC10(), "restricted_imagenet": RestrictedImageNet(), "restricted32": Restricted32()}
"""Without published checksums of each file: pictures are counted, or arrays checked, when they are loaded."""


@dataclass(frozen=True)
class State:
    """Whether a data set can be used, and in words."""

    name: str
    ready: bool
    says: str

    def __str__(self) -> str:
        return f"{self.name:<19} {'ready  ' if self.ready else 'missing'}  {self.says}"


def names() -> list[str]:
    """The data sets that can be checked."""
    return [*KNOWN, *BY_LOOKING]


def check(name: str, data_dir: Path) -> State:
    """The state of one data set in `data_dir`; reads every file that has a published checksum."""
    if name in BY_LOOKING:
        sentence = BY_LOOKING[name].missing(data_dir)
        return State(name, sentence is None, sentence or "there; its content is checked when it is loaded")
    published = KNOWN[name]
    if published is None:
        return State(name, True, "comes with scikit-learn")
    if sentence := published.missing(data_dir):
        return State(name, False, sentence)
    if damaged := published.damaged(data_dir):
        what = f"{data_dir / published.folder}: {', '.join(damaged)} damaged"
        return State(name, False, f"{what}; remove it, then {published.remedy(data_dir)}")
    return State(name, True, f"{data_dir / published.folder}: {len(published.files)} files, md5 as published")
