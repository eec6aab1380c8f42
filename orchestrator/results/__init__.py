"""What tables and claims are made of: cells, statistics, evidence, and their formats.

The folder can be called: `orchestrator.results("NAME")` is `frame.results`.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


class _Callable(ModuleType):
    def __call__(self, name: str, store: str | Path = "runs") -> "pandas.DataFrame":
        from orchestrator.results.frame import results

        return results(name, store)


sys.modules[__name__].__class__ = _Callable
