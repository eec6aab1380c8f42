"""`sweep data`: which data sets are there, whether their checksums are right, and how a published one is fetched."""

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


def fetch(name: str, data_dir: Path) -> None:
    """Download a data set with torchvision unless it is there, undamaged; nothing where no download is known.

    Raises:
        OSError: the network or the disk failed.
        RuntimeError: what came has another checksum than the published one.
    """
    published = KNOWN.get(name)
    if published is not None and not check(name, data_dir).ready:
        import torchvision

        getattr(torchvision.datasets, published.source)(str(data_dir), download=True)
