"""Checkpoints as files: tensors in the safetensors format, numbers and the history so far in its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from workloads.alone import tensors
from workloads.alone.results import rows_from_json, rows_to_json, write_atomically
from workloads.contract import Checkpoint

NAME = "checkpoint.safetensors"


def keep(folder: Path, checkpoint: Checkpoint, history: Sequence[Mapping[str, float]]) -> None:
    """Write the checkpoint of a node into its folder, in place of the one before; never half of it."""
    metadata = {"history": rows_to_json(history), "numbers": rows_to_json([checkpoint.numbers])}
    write_atomically(folder / NAME, lambda path: tensors.write(path, checkpoint.tensors, metadata))


def kept(folder: Path) -> tuple[Checkpoint, list[dict[str, float]]] | None:
    """The checkpoint in a node's folder and the history until then; None where there is none, or it is damaged."""
    try:
        named, metadata = tensors.read((folder / NAME).read_bytes())
        history, [numbers] = rows_from_json(metadata["history"]), rows_from_json(metadata["numbers"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return Checkpoint(named, numbers), history
