"""The safetensors format, read and written with torch alone: a length, a JSON header, the tensors' bytes.

8 bytes: n, little-endian; n bytes: a JSON object, name -> {dtype, shape, data_offsets: [begin, end)}, perhaps with
`__metadata__`, text by text; then the bytes that the offsets count in, without gaps or overlaps.
Source: https://github.com/huggingface/safetensors#format. A file is untrusted: everything in it is checked.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
METADATA = "__metadata__"
LENGTH = 8  # bytes of the header's length, and what the header is padded to
LONGEST_HEADER = 100_000_000  # bytes, as in the format's own reader


class DamagedError(ValueError):
    """A file that is not, or no longer, in the format."""


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name, wide types first, so that each begins at a multiple of its width.

    Raises:
        ValueError: a type that the format, or this file, does not know.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in NAMES:
            raise ValueError(f"{name}: {tensor.dtype} cannot be kept; known: {', '.join(map(str, NAMES))}")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(LENGTH, "little") + text)
        for name in order:
            tensor = tensors[name].detach().cpu().contiguous()
            if tensor.numel():
                file.write((ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr()))


def read(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name, on the CPU, and the metadata of a file's bytes.

    Raises:
        DamagedError: they are not in the format.
    """
    header, data = _header(content)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DamagedError(f"{METADATA} is not text by name")
    places = {name: _place(name, entry, len(data)) for name, entry in header.items()}
    end = 0
    for name, (_, _, begin, stop) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != end:
            raise DamagedError(f"{name}: begins at byte {begin} of the tensors, where {end} is the next")
        end = stop
    if end != len(data):
        raise DamagedError(f"{len(data)} bytes of tensors, of which the header names {end}")
    whole = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    return {name: _tensor(whole, *place) for name, place in places.items()}, metadata


def _tensor(whole: Tensor, dtype: torch.dtype, shape: list[int], begin: int, end: int) -> Tensor:
    """A copy, for each tensor to be aligned and to hold no memory but its own."""
    return whole[begin:end].clone().view(dtype).reshape(shape)


def _header(content: bytes) -> tuple[dict[str, Any], memoryview]:
    if len(content) < LENGTH:
        raise DamagedError(f"{len(content)} bytes are too few for a header")
    length = int.from_bytes(content[:LENGTH], "little")
    if length > min(LONGEST_HEADER, len(content) - LENGTH):
        raise DamagedError(f"a header of {length} bytes in a file of {len(content)}")
    try:
        header = json.loads(
            content[LENGTH : LENGTH + length], object_pairs_hook=_distinct, parse_constant=_not_a_number
        )
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"the header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise DamagedError("the header is no JSON object")
    return header, memoryview(content)[LENGTH + length :]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _not_a_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _place(name: str, entry: object, available: int) -> tuple[torch.dtype, list[int], int, int]:
    """dtype, shape, begin and end of a tensor, each checked."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise DamagedError(f"{name}: expected dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise DamagedError(f"{name}: unknown dtype {entry['dtype']!r}; known: {', '.join(DTYPES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2):
        raise DamagedError(f"{name}: shape and data_offsets must be lists of whole numbers from 0")
    begin, end = offsets
    if not begin <= end <= available:
        raise DamagedError(f"{name}: bytes {begin} to {end} of {available}")
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise DamagedError(f"{name}: {entry['dtype']} of shape {shape} in {end - begin} bytes")
    return dtype, shape, begin, end


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
