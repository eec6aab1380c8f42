"""The sweep orchestrator: spec -> plan -> frontier -> execute -> store -> records -> tables.

In Python: `orchestrator.results("NAME", store="runs")` is a sweep's records as a pandas DataFrame.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.results.frame import results

__all__ = ["results"]


def __getattr__(name: str) -> Any:
    """`orchestrator.results`, loaded when it is asked for: the folder of that name, which can be called."""
    if name == "results":
        import importlib

        return importlib.import_module("orchestrator.results")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
