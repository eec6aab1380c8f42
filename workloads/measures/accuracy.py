"""How well a network does, on the training part without corruption and on the test part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from workloads.measures.snapshot import Snapshot

CONVENTION = "eval mode; the measure stage's data, by default that of its input without corruption; no augmentation"


@measure(source="standard", unit="fraction in [0, 1]", convention=CONVENTION)
def train_accuracy(snapshot: Snapshot) -> float:
    """Fraction of training images whose largest logit is that of their label."""
    return snapshot.train_scores.accuracy


@measure(source="standard", unit="fraction in [0, 1]", convention=CONVENTION)
def test_accuracy(snapshot: Snapshot) -> float:
    """Fraction of test images whose largest logit is that of their label."""
    return snapshot.test_scores.accuracy


@measure(source="standard", unit="nats, mean over images", convention=CONVENTION + "; no l2 term")
def train_loss(snapshot: Snapshot) -> float:
    """Mean cross-entropy on the training part."""
    return snapshot.train_scores.loss


@measure(source="standard", unit="nats, mean over images", convention=CONVENTION + "; no l2 term")
def test_loss(snapshot: Snapshot) -> float:
    """Mean cross-entropy on the test part."""
    return snapshot.test_scores.loss
