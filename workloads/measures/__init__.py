"""Measures of trained networks: each is a function of a snapshot, registered by its decorator."""

from __future__ import annotations

from workloads.measures import accuracy, margins, norms, paths
from workloads.measures.registry import MEASURES, Measure, MeasureEntry

__all__ = ["MEASURES", "Measure", "MeasureEntry", "accuracy", "margins", "norms", "paths"]
