"""Measures of trained networks: each is a function of a snapshot, registered by its decorator."""

from __future__ import annotations

from workloads.measures import (
    accuracy,
    activations,
    curvature,
    margins,
    norms,
    ntk,
    paths,
    plane,
    rank,
    robustness,
    spectral,
)
from workloads.measures.registry import MEASURES, Measure, Measured, MeasureEntry

__all__ = [
    "MEASURES", "Measure", "MeasureEntry", "Measured",
    "accuracy", "activations", "curvature", "margins", "norms", "ntk",
    "paths", "plane", "rank", "robustness", "spectral",
]  # fmt: skip
