"""Data sets: known by a fingerprint, loaded from a folder, corrupted and augmented from named streams."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workloads.datasets.cifar import CIFAR10, CIFAR100
from workloads.datasets.digits import Digits
from workloads.datasets.folders import CINIC10, RestrictedImageNet
from workloads.datasets.gaussians import Gaussians
from workloads.datasets.mnist import MNIST
from workloads.datasets.npz import Npz
from workloads.datasets.restricted32 import Restricted32

Dataset = Annotated[
    Digits | MNIST | CIFAR10 | CIFAR100 | CINIC10 | RestrictedImageNet | Restricted32 | Gaussians | Npz,
    Field(discriminator="name"),
]
