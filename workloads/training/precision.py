"""What a training computes in: fp32, tf32 or bf16 over float32 weights, or fp64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


def storage(precision: str) -> torch.dtype:
    """The type of weights, sums and everything that autocast leaves alone."""
    return torch.float64 if precision == "fp64" else torch.float32


def autocast(precision: str, device: str) -> AbstractContextManager[object]:
    """Around a forward pass: bf16 for convolutions and matrix products where it is asked for."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


@contextmanager
def multiplying(precision: str) -> Iterator[None]:
    """Around a training: whether a GPU may round the factors of float32 products to tf32. Put back afterwards."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before: tuple[bool, bool] = matmul.allow_tf32, convolution.allow_tf32  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
    _allow(precision == "tf32", precision == "tf32")
    try:
        yield
    finally:
        _allow(*before)


def _allow(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
