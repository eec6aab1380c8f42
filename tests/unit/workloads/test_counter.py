"""Counter-based draws: the published hash, the right laws, and nothing that depends on the array."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from workloads.arrays import counter
from workloads.contract import stream_seed

WRAP = 2**64


def splitmix64(state: int) -> int:
    """The generator's output function on plain integers, modulo 2^64."""
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WRAP
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WRAP
    return z ^ (z >> 31)


def keys(*seeds: int) -> torch.Tensor:
    return torch.tensor([stream_seed(seed, "test") for seed in seeds])


def test_is_splitmix64():
    drawn = counter.mix(keys(0, 1)[:, None], torch.arange(50))
    for row, key in zip(drawn.tolist(), keys(0, 1).tolist(), strict=True):
        expected = [splitmix64((key + (index + 1) * 0x9E3779B97F4A7C15) % WRAP) for index in range(50)]
        assert [value % WRAP for value in row] == expected
    assert splitmix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF, "the first number of the seed 0, as published"


@pytest.mark.parametrize("draw", [counter.uniform, counter.normal])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_draw_depends_on_its_own_key_alone(draw: Callable[..., torch.Tensor], dtype: torch.dtype):
    together = draw(keys(3, 1, 2), (5, 7), dtype)
    assert together.shape == (3, 5, 7)
    assert together.dtype == dtype
    for row, seed in zip(together, (3, 1, 2), strict=True):
        assert torch.equal(row, draw(keys(seed), (5, 7), dtype)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_has_its_law(dtype: torch.dtype):
    x = counter.uniform(keys(0), (200_000,), dtype)[0].double()
    assert x.min() >= 0
    assert x.max() < 1
    assert x.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / len(x)))
    counts = torch.histc(x, 20, 0, 1)
    assert ((counts - 10_000).square() / 10_000).sum().item() < 44  # chi-squared, 19 degrees, p = 0.001
    assert torch.corrcoef(torch.stack([x[:-1], x[1:]]))[0, 1].abs().item() < 4 / math.sqrt(len(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_has_its_law(dtype: torch.dtype):
    x = counter.normal(keys(1), (200_001,), dtype)[0].double()
    error = 1 / math.sqrt(len(x))
    assert x.isfinite().all()
    assert x.mean().item() == pytest.approx(0, abs=4 * error)
    assert x.var().item() == pytest.approx(1, abs=4 * math.sqrt(2) * error)
    assert x.pow(3).mean().item() == pytest.approx(0, abs=4 * math.sqrt(15) * error)
    assert x.pow(4).mean().item() == pytest.approx(3, abs=4 * math.sqrt(96) * error)
    assert (x.abs() > 3).double().mean().item() == pytest.approx(0.0027, abs=4 * math.sqrt(0.0027) * error)
    halves = torch.corrcoef(torch.stack([x[:100_000], x[100_001:]]))[0, 1]
    assert abs(halves.item()) < 4 / math.sqrt(100_000), "the cosine's half and the sine's are independent"


def test_the_positions_of_two_steps_are_unrelated():
    first, second = (counter.uniform(counter.mix(keys(0), torch.tensor(step)), (50_000,))[0] for step in (0, 1))
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs().item() < 4 / math.sqrt(50_000)
