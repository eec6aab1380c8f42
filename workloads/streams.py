"""Named streams of randomness: every draw comes from (seed, purpose, step), never from a global generator."""

from __future__ import annotations

import torch

from workloads.contract import stream_seed


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A fresh CPU generator of the stream (seed, purpose, step)."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, step))
