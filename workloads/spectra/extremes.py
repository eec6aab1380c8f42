"""Both ends of the spectrum of a symmetric map that is known by its products with vectors alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
EXHAUSTED = 1e-12  # of the largest Ritz value: what is left of a product then is rounding


@dataclass(frozen=True)
class Eigenpair:
    r"""A unit vector $v$ (P,) with $\theta = v^\top H v$ and the residual $\lVert H v - \theta v \rVert_2$.

    An eigenvalue of $H$ lies within the residual of $\theta$. Whether it is the outermost one no residual tells;
    $\theta$ itself is never outside the spectrum.
    """

    value: float
    residual: float
    vector: Tensor

    def sign(self, outwards: int, asked: float, rounding: float) -> int:
        """Of the eigenvalue at an end: -1, 1, or 0 where it is not decided.

        It is not where 0 is within residual and rounding. Nor where the sign is not `outwards` (-1 at the lower end)
        and the residual is above what was `asked`: further out there may be another eigenvalue.
        """
        if not abs(self.value) > self.residual + rounding:
            return 0
        sign = 1 if self.value > 0 else -1
        return sign if sign == outwards or self.residual <= asked else 0


@dataclass(frozen=True)
class Ends:
    """The two ends, and how many products they took."""

    smallest: Eigenpair
    largest: Eigenpair
    products: int

    @property
    def radius(self) -> float:
        """The largest absolute value."""
        return max(abs(self.smallest.value), abs(self.largest.value))


def eigenpair(symmetric: Map, vector: Tensor) -> Eigenpair:
    """The vector at length 1 with its Rayleigh quotient and residual, by one product."""
    unit = vector / vector.norm()
    product = symmetric(unit)
    value = unit @ product
    return Eigenpair(value.item(), (product - value * unit).norm().item(), unit)


def lanczos(
    symmetric: Map, start: Tensor, residual: float, products: int, room: int = 100, exact: Map | None = None
) -> Ends:
    """Lanczos' method, each vector made orthogonal to all before it twice, restarted where `room` vectors are full.

    A restart keeps the outermost quarter of Ritz vectors at either end. It ends when both residuals are at most
    `residual`, after so many products, at least 1, or when the vectors span an invariant space. Two more products
    check. Where a product is not finite all is nan.

    Args:
        symmetric: (P,) -> (P,), float64.
        start: (P,), not zero; an end whose eigenvectors it is orthogonal to is not found.
        room: The number of vectors in memory.
        exact: The map that the check multiplies by, where `symmetric` is a rounded one.

    Source: Wu and Simon, Thick-restart Lanczos method for large symmetric eigenvalue problems, SIMAX 22 (2000).
    """
    room = max(min(room, products + 1), 8)
    basis = start.new_empty(room + 1, len(start), dtype=torch.float64)
    projected = torch.zeros(room, room, dtype=torch.float64, device=start.device)
    basis[0] = start.double() / start.double().norm()
    count = done = 0
    values, small = projected.new_zeros(1), projected.new_ones(1, 1)
    for done in range(1, products + 1):
        rest = symmetric(basis[count])
        if not rest.isfinite().all():  # beyond what the map can be computed in: no eigensolver takes that
            return Ends(*(Eigenpair(math.nan, math.nan, rest * math.nan) for _ in range(2)), products=done)
        rest, along = _orthogonal(rest, basis[: count + 1])
        projected[count, : count + 1] = projected[: count + 1, count] = along
        count += 1
        values, small = torch.linalg.eigh(projected[:count, :count])
        left = rest.norm()
        ends = left * small[-1, [0, -1]].abs()
        if done == products or ends.max() <= residual or left <= EXHAUSTED * values.abs().max():
            break
        if count == room:
            count = _restart(basis, projected, values, small)
        basis[count] = rest / left
    found = small[:, [0, -1]].T @ basis[:count]
    return Ends(*(eigenpair(exact or symmetric, vector) for vector in found), products=done + 2)


def _orthogonal(vector: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """What of a vector is orthogonal to orthonormal rows, and its products with them."""
    along = known @ vector
    rest = vector - along @ known
    again = known @ rest  # once is not enough in finite precision
    return rest - again @ known, along + again


def _restart(basis: Tensor, projected: Tensor, values: Tensor, small: Tensor) -> int:
    """Put the outermost Ritz vectors first, and say how many they are."""
    room = len(values)
    chosen = [*range(room // 4), *range(room - room // 4, room)]
    basis[: len(chosen)] = small[:, chosen].T @ basis[:room]
    projected.zero_()
    projected.diagonal()[: len(chosen)] = values[chosen]
    return len(chosen)


def power(symmetric: Map, start: Tensor, residual: float, products: int) -> Ends:
    r"""Power iteration for the eigenvalue $\theta$ of largest size, and on $H - \theta I$ for the other end.

    Each ends when its residual is at most `residual`, or after so many products. This is how Goldblum et al.,
    arXiv:1910.00359, section 2, find the smallest eigenvalue; it often ends far from it, as the residual tells.

    Args:
        symmetric, start: As for `lanczos`.
    """
    first, one = _power(symmetric, start, residual, products, 0.0)
    second, other = _power(symmetric, start, residual, products, first.value)
    smallest, largest = sorted((first, second), key=lambda pair: pair.value)
    return Ends(smallest, largest, one + other)


def _power(symmetric: Map, start: Tensor, residual: float, products: int, shift: float) -> tuple[Eigenpair, int]:
    vector, done = start.double() / start.double().norm(), 0
    while True:
        product = symmetric(vector)
        done += 1
        value = vector @ product
        apart = (product - value * vector).norm().item()
        shifted = product - shift * vector
        if apart <= residual or done == products:
            return Eigenpair(value.item(), apart, vector), done
        vector = shifted / shifted.norm()
