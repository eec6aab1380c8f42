"""What the files of a node hold; a file that is not what was written is never used."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import StoreError
from orchestrator.storage.outcome import Outcome

if TYPE_CHECKING:
    import numpy
    import pyarrow

ARRAYS, HISTORY = "arrays.npz", "history.parquet"


class Damaged(StoreError):
    """A finished node is not, or no longer, what was written: it is to be computed again.

    Attributes:
        key: The node.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(message)


def parsed_history(content: bytes) -> pyarrow.Table | None:
    """What a node logged; None where the bytes are no Parquet file: whoever writes in a store can make a checksum."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError):
        return None


@dataclass(frozen=True)
class Contents:
    """The reading of the files of nodes, below the folder `root`."""

    root: Path

    def node_folder(self, key: str) -> Path:
        return self.root / "nodes" / key[:2] / key

    def history(self, outcome: Outcome) -> pyarrow.Table | None:
        """What a node logged, one row per step; None if it logged nothing.

        Raises:
            Damaged: the file is not what was written, or no Parquet file, whatever its checksum says.
        """
        if HISTORY not in outcome.files:
            return None
        table = parsed_history(self.content(outcome, HISTORY))
        if table is None:
            raise Damaged(outcome.key, f"{self.node_folder(outcome.key) / HISTORY}: damaged (no Parquet file)")
        return table

    def weights(self, outcome: Outcome, name: str = "weights.safetensors") -> dict[str, Any]:
        """The tensors of one file of a node.

        Raises:
            Damaged: the file is not what was written.
        """
        import safetensors.torch

        return safetensors.torch.load(self.content(outcome, name))

    def arrays(self, outcome: Outcome) -> dict[str, numpy.ndarray]:
        """The arrays of a node by name; {} if it has none.

        Raises:
            Damaged: the file is not what was written.
        """
        import numpy

        if ARRAYS not in outcome.files:
            return {}
        with numpy.load(io.BytesIO(self.content(outcome, ARRAYS)), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def content(self, outcome: Outcome, name: str) -> bytes:
        """The bytes of one file of a node.

        Raises:
            Damaged: the file is not what was written.
        """
        path = self.node_folder(outcome.key) / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise Damaged(outcome.key, f"{path}: missing") from None
        except OSError as error:
            raise Damaged(outcome.key, f"{path}: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != outcome.files.get(name):
            raise Damaged(outcome.key, f"{path}: damaged (its checksum differs)")
        return content
