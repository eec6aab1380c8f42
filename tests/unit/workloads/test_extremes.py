"""Both ends of spectra that are known, by Lanczos and by power iteration, with residuals that are true."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from workloads.spectra.extremes import Eigenpair, Ends, eigenpair, lanczos, power

FIND = {"lanczos": lanczos, "power": power}


def symmetric(values: Tensor, seed: int = 0) -> Tensor:
    """A matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64, generator=generator))
    return turn @ torch.diag(values.double()) @ turn.T


def start(size: int) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("find", FIND.values(), ids=FIND)
@pytest.mark.parametrize("sign", [1, -1])
def test_both_ends_and_their_residuals(find: Callable[..., Ends], sign: int):
    """Check 5. The larger end by size may be the negative one."""
    matrix = symmetric(sign * torch.tensor([-1.5, -0.4, 0.0, 0.001, 0.002, 0.5, 1.0, 2.0, 24.0]))
    found = find(lambda v: matrix @ v, start(9), 1e-9, 5000)
    low, high = sorted((sign * -1.5, sign * 24.0))
    assert found.smallest.value == pytest.approx(low, abs=1e-9)
    assert found.largest.value == pytest.approx(high, abs=1e-9)
    assert found.radius == pytest.approx(24)
    for pair in (found.smallest, found.largest):
        assert pair.residual <= 2e-9
        assert (matrix @ pair.vector - pair.value * pair.vector).norm().item() == pytest.approx(
            pair.residual, abs=1e-13
        )
        assert pair.vector.norm().item() == pytest.approx(1)


def test_restarts_find_the_ends_of_a_crowded_spectrum():
    values = torch.cat([torch.linspace(-0.011, 1, 600), torch.tensor([-0.012, 24.0])])
    matrix = symmetric(values)
    whole = lanczos(lambda v: matrix @ v, start(602), 1e-5, 602, room=602)
    for room in (20, 60):
        found = lanczos(lambda v: matrix @ v, start(602), 1e-5, 3000, room=room)
        assert found.smallest.value == pytest.approx(-0.012, abs=1e-7)
        assert found.largest.value == pytest.approx(24, abs=1e-7)
        assert found.products >= whole.products


def test_lanczos_takes_fewer_products_than_power_iteration():
    matrix = symmetric(torch.cat([torch.linspace(-1, 3, 200), torch.tensor([-1.5, 4.0])]))
    fast, slow = (find(lambda v: matrix @ v, start(202), 1e-3, 5000) for find in FIND.values())
    assert 5 * fast.products < slow.products
    assert fast.smallest.value == pytest.approx(slow.smallest.value, abs=1e-5)


def test_an_end_that_is_not_reached_says_so():
    """The Rayleigh quotient is never outside the spectrum, so what stops early overstates the smallest eigenvalue."""
    matrix = symmetric(torch.cat([torch.linspace(0, 1, 100), torch.tensor([-0.05, 100.0])]))
    found = power(lambda v: matrix @ v, start(102), 1e-6, 40).smallest
    assert found.value > -0.05
    assert found.residual > 0.01
    assert found.value > found.residual, "an eigenvalue near it is positive, and yet the smallest is not"
    assert found.sign(-1, asked=1e-6, rounding=0.0) == 0


@pytest.mark.parametrize("find", FIND.values(), ids=FIND)
def test_a_map_beyond_what_floats_hold_has_no_ends(find: Callable[..., Ends]):
    """As the Hessian of a network whose loss and gradient are finite still."""
    found = find(lambda v: math.inf * v, start(5), 1e-3, 20)
    for pair in (found.smallest, found.largest):
        assert math.isnan(pair.value)
        assert math.isnan(pair.residual)
        assert pair.sign(-1, asked=1e-3, rounding=0.0) == 0


def test_an_invariant_space_ends_it():
    for values in ([3.0] * 5, [0.0] * 5, [1.0, 1.0, -2.0, -2.0, 1.0], [7.0]):
        matrix = symmetric(torch.tensor(values))
        found = lanczos(lambda v, matrix=matrix: matrix @ v, start(len(values)), 0.0, 100)
        assert found.smallest.value == pytest.approx(min(values), abs=1e-12)
        assert found.largest.value == pytest.approx(max(values), abs=1e-12)
        assert found.products <= 6


@pytest.mark.parametrize(
    ("value", "residual", "rounding", "lower", "upper"),
    [
        (-1.0, 0.5, 0.0, -1, 0),
        (1.0, 0.5, 0.0, 0, 1),
        (1.0, 0.01, 0.0, 1, 1),
        (-1.0, 0.01, 0.0, -1, -1),
        (1.0, 1.0, 0.0, 0, 0),
        (-1.0, 0.5, 0.6, 0, 0),
        (0.0, 0.0, 0.0, 0, 0),
    ],
)
def test_a_sign_needs_a_residual_that_supports_it(
    value: float, residual: float, rounding: float, lower: int, upper: int
):
    """Outwards a Rayleigh quotient is proof; the other way the end must have been reached."""
    found = Eigenpair(value, residual, torch.ones(1))
    assert found.sign(-1, asked=0.1, rounding=rounding) == lower
    assert found.sign(1, asked=0.1, rounding=rounding) == upper


def test_an_eigenvector_has_no_residual():
    found = eigenpair(lambda v: 2 * v, torch.tensor([3.0, 4.0], dtype=torch.float64))
    assert (found.value, found.residual) == (2, 0)
    assert found.vector.tolist() == [0.6, 0.8]
