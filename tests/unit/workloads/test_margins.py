"""Margins of logits that can be read off, and of a network of one weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workloads.datasets.images import Data
from workloads.measures.margins import margin, margins
from workloads.measures.snapshot import Snapshot


def test_margins_are_signed_and_leave_the_right_class_out():
    """Check 2 of the known answers."""
    found = margins(torch.tensor([[2.0, 1.0, 0.0]] * 3), torch.tensor([0, 1, 2]))
    assert found.tolist() == [1.0, -1.0, -2.0]


def test_percentiles_interpolate_between_images():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    model[1].weight.data = torch.tensor([[1.0], [0.0]])  # pyright: ignore[reportAttributeAccessIssue]
    pixels = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    labels = torch.zeros(4, dtype=torch.int64)
    seen = Snapshot(model.eval(), {}, Data(pixels, labels, pixels, labels, (0.0,), (1.0,), 2), "cpu")
    values = [0.0, 0.2, 0.4, 1.0]
    assert margin(seen) == pytest.approx(values[0])
    assert margin(seen, percentile=100.0) == pytest.approx(values[-1])
    assert margin(seen, percentile=50.0) == pytest.approx(0.3)
    assert margin(seen, percentile=10.0) == pytest.approx(0.06)
    assert margin(seen, percentile=5.0) == pytest.approx(0.03), "check 2: not the order statistic, which is 0"
    with pytest.raises(ValueError, match="within 0 and 100"):
        margin(seen, percentile=101.0)
