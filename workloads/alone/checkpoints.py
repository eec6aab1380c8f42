"""Checkpoints as files: tensors as safetensors, numbers, the history so far and a checksum in its metadata."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from workloads.alone import tensors
from workloads.alone.results import rows_from_json, rows_to_json, write_atomically
from workloads.contract import Checkpoint

NAME = "checkpoint.safetensors"


def keep(folder: Path, checkpoint: Checkpoint, history: Sequence[Mapping[str, float]]) -> None:
    """Write the checkpoint of a node into its folder, in place of the one before; never half of it."""
    named = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    metadata = {"history": rows_to_json(history), "numbers": rows_to_json([checkpoint.numbers])}
    metadata["crc32"] = _checksum(named, metadata)
    write_atomically(folder / NAME, lambda path: tensors.write(path, named, metadata))


def kept(folder: Path) -> tuple[Checkpoint, list[dict[str, float]]] | None:
    """The checkpoint in a node's folder and the history until then; None where there is none, or it is damaged."""
    try:
        named, metadata = tensors.read((folder / NAME).read_bytes())
        if metadata["crc32"] != _checksum(named, metadata):
            return None
        history, [numbers] = rows_from_json(metadata["history"]), rows_from_json(metadata["numbers"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return Checkpoint(named, numbers), history


def _checksum(named: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of all that a checkpoint says; crc32, since it is written every minute and only accidents are to be noticed."""
    text = "\n".join([metadata["history"], metadata["numbers"], *sorted(named)])
    checksum = zlib.crc32(text.encode())
    for name in sorted(named):
        if named[name].numel():
            memory = (ctypes.c_char * named[name].nbytes).from_address(named[name].data_ptr())
            checksum = zlib.crc32(memory, checksum)
    return f"{checksum:08x}"
