"""What an eigenvalue must not be read without: its residual, and whether that leaves it a sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

RESIDUAL, SIGN = "_residual", "_sign"
"""Behind a metric's name: how near to an eigenvalue it is; its sign, 0 where the residual does not decide it."""


@dataclass(frozen=True)
class Residual:
    """Of the values of one cell.

    Attributes:
        largest: Each value is at most this far from an eigenvalue.
        signed: Whether the residuals decide the sign of every value.
    """

    largest: float
    signed: bool


def residual(residuals: numpy.ndarray, signs: numpy.ndarray) -> Residual | None:
    """Of some values; None for no values."""
    if not len(residuals):
        return None
    return Residual(float(residuals.max()), bool((signs != 0).all()))


def value_text(value: float | None, residual: float | None) -> str:
    """A single value at full precision, "" without one.

    Example:
        >>> value_text(-0.25, 0.00012), value_text(0.5, None)
        ('-0.25 (residual 1.2e-04)', '0.5')
    """
    if value is None:
        return ""
    return repr(value) if residual is None else f"{value!r} (residual {residual:.1e})"
