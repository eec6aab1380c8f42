"""What holds around every contract test."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch

from workloads.datasets import Digits


@pytest.fixture(autouse=True)
def global_generators_are_left_alone() -> Iterator[None]:
    """No part draws from a generator that another part could draw from too."""
    Digits().load(Path(), 0)  # importing scikit-learn for the first time draws from Python's
    before = torch.get_rng_state(), random.getstate(), repr(numpy.random.get_state())
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert repr(numpy.random.get_state()) == before[2]
