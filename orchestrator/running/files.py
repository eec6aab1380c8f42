"""The files of a node: how what a workload returned and logged is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.context import START, WEIGHTS
from orchestrator.storage.contents import ARRAYS, HISTORY
from workloads.alone import artifacts
from workloads.contract import Result


def files_of(
    result: Result, history: Sequence[Mapping[str, float]], kept: Mapping[str, Path | bytes]
) -> dict[str, Callable[[Path], None]]:
    """What to write for a result and the artifacts `kept` beside it, by file name."""
    files: dict[str, Callable[[Path], None]] = {}
    if result.weights is not None:
        files[WEIGHTS] = partial(_write_tensors, result.weights)
    if isinstance(result.start, Mapping):
        files[START] = partial(_write_tensors, result.start)
    if result.arrays:
        files[ARRAYS] = partial(_write_arrays, result.arrays)
    if history:
        files[HISTORY] = partial(_write_history, history)
    files |= {f"{artifacts.FOLDER}/{name}": partial(_write_artifact, content) for name, content in kept.items()}
    return files


def _write_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}, path)


def _write_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    import numpy

    with open(path, "wb") as file:
        numpy.savez_compressed(file, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})


def _write_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    names = sorted({name for row in history for name in row} - {"step"})
    columns = {"step": pyarrow.array([int(row["step"]) for row in history], pyarrow.int64())}
    for name in names:
        columns[name] = pyarrow.array([row.get(name) for row in history], pyarrow.float64())
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def _write_artifact(content: Path | bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)
