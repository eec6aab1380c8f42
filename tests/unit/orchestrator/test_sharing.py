"""Outcomes as a driver keeps them say the same as those that came, with less memory."""

from __future__ import annotations

import pickle

import pytest

from orchestrator.planning.node import Node
from orchestrator.running.sharing import shared
from orchestrator.store import Outcome

CONFIG = {"model": {"name": "mlp", "width": 32}, "threads": 1}
NODE = Node("a" * 40, "fit", None, "train", CONFIG, 0, {}, "s")
OUTCOME = Outcome(
    *("a" * 40, "train", "done", {"loss": 0.5, "accuracy": float("inf")}, CONFIG, 0, None, 1.5),
    meta={"host": "here", "torch": "2.15.0", "resumed_at": 3, "dirty": None},
    files={"weights.safetensors": "0" * 64},
)


def came() -> Outcome:
    """As it comes from another process."""
    return pickle.loads(pickle.dumps(OUTCOME))


def test_it_says_the_same():
    assert shared(came(), NODE) == OUTCOME


def test_configs_and_texts_are_there_once():
    first, second = shared(came(), NODE), shared(came(), NODE)
    assert first.config is second.config is NODE.config
    assert first.key is NODE.key
    for name in ("host", "torch"):
        assert first.meta[name] is second.meta[name]
    for one, other in zip(first.metrics, second.metrics, strict=True):
        assert one is other


@pytest.mark.parametrize("config", [{**CONFIG, "threads": 2}, {}])
def test_another_config_than_the_nodes_stays(config: dict[str, object]):
    """One that an older version wrote, without a field that changes nothing."""
    other = Outcome(**{**came().__dict__, "config": config})
    assert shared(other, NODE).config == config
