"""What `sweep data check` says: which data sets are there, and whether their checksums are right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workloads.datasets import cifar, mnist
from workloads.datasets.published import Published

KNOWN: dict[str, Published | None] = {
    "digits": None,
    "mnist": mnist.PUBLISHED,
    "cifar10": cifar.PUBLISHED10,
    "cifar100": cifar.PUBLISHED100,
}


@dataclass(frozen=True)
class State:
    """Whether a data set can be used, and in words."""

    name: str
    ready: bool
    says: str

    def __str__(self) -> str:
        return f"{self.name:<9} {'ready  ' if self.ready else 'missing'}  {self.says}"


def names() -> list[str]:
    """The data sets that can be checked."""
    return [*KNOWN]


def check(name: str, data_dir: Path) -> State:
    """The state of one data set in `data_dir`; reads every file."""
    published = KNOWN[name]
    if published is None:
        return State(name, True, "comes with scikit-learn")
    if sentence := published.missing(data_dir):
        return State(name, False, sentence)
    if damaged := published.damaged(data_dir):
        what = f"{data_dir / published.folder}: {', '.join(damaged)} damaged"
        return State(name, False, f"{what}; remove it, then {published.remedy(data_dir)}")
    return State(name, True, f"{data_dir / published.folder}: {len(published.files)} files, md5 as published")
