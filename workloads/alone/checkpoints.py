"""Checkpoints as files: tensors as safetensors, numbers, the history so far and a checksum in its metadata."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from workloads.alone import tensors
from workloads.alone.results import rows_from_json, rows_to_json, write_atomically
from workloads.contract import Checkpoint

NAME = "checkpoint.safetensors"


class Kept(NamedTuple):
    """A checkpoint, the history until then, and the version of torch that it began under, "" where it does not say."""

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    torch: str

    @property
    def foreign(self) -> str | None:
        """What to say of it where that is another one than here, so that bytes may differ; None where it is not."""
        same = self.torch in ("", str(torch.__version__))
        return None if same else f"begun under torch {self.torch}, taken up under {torch.__version__}"


def keep(folder: Path, checkpoint: Checkpoint, history: Sequence[Mapping[str, float]], begun: str = "") -> None:
    """Write the checkpoint of a node into its folder, in place of the one before; never half of it.

    Args:
        begun: The version of torch that its computation began under; "" for the one here.
    """
    named = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    metadata = {"history": rows_to_json(history), "numbers": rows_to_json([checkpoint.numbers])}
    metadata["torch"] = begun or str(torch.__version__)
    metadata["crc32"] = _checksum(named, metadata)
    write_atomically(folder / NAME, lambda path: tensors.write(path, named, metadata))


def kept(folder: Path) -> Kept | None:
    """The checkpoint in a node's folder and the history until then; None where there is none, or it is damaged."""
    try:
        named, metadata = tensors.read((folder / NAME).read_bytes())
        if metadata["crc32"] != _checksum(named, metadata):
            return None
        history, [numbers] = rows_from_json(metadata["history"]), rows_from_json(metadata["numbers"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return Kept(Checkpoint(named, numbers), history, metadata.get("torch", ""))


def _checksum(named: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of all that a checkpoint says; crc32, since it is written every minute and only accidents are to be noticed."""
    text = "\n".join([metadata["history"], metadata["numbers"], *sorted(named)])
    checksum = zlib.crc32(text.encode())
    for name in sorted(named):
        if named[name].numel():
            memory = (ctypes.c_char * named[name].nbytes).from_address(named[name].data_ptr())
            checksum = zlib.crc32(memory, checksum)
    return f"{checksum:08x}"
