"""Counter-based randomness on any device: the draw at (key, index) is a hash of the two.

So what a network draws inside a step (dropout, Langevin noise) depends on its own key alone, in whichever slot of
however large an array it is, and costs neither a wait for the host nor a generator's state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea & Flood, OOPSLA 2014, figure 13), as signed 64-bit integers that wrap.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST = 0xBF58476D1CE4E5B9 - 2**64
SECOND = 0x94D049BB133111EB - 2**64


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: torch's own carries the sign along."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def mix(keys: Tensor, counter: Tensor) -> Tensor:
    """64 mixed bits, as int64, of each key at the position `counter`; the two broadcast."""
    z = keys + (counter + 1) * GOLDEN
    z = (z ^ _shifted(z, 30)) * FIRST
    z = (z ^ _shifted(z, 27)) * SECOND
    return z ^ _shifted(z, 31)


def _bits(keys: Tensor, count: int, first: int = 0) -> Tensor:
    """(S, count): each key's `count` draws from the one numbered `first` on."""
    return mix(keys[:, None], torch.arange(first, first + count, device=keys.device))


def uniform(keys: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32, first: int = 0) -> Tensor:
    """(S,) keys -> (S, *shape), uniform on [0, 1): multiples of 2^-24, in float64 of 2^-53."""
    digits = 53 if dtype == torch.float64 else 24
    drawn = _shifted(_bits(keys, math.prod(shape), first), 64 - digits).to(dtype) * 2.0**-digits
    return drawn.view(len(keys), *shape)


@cache
def opaque_uniform() -> Callable[[Tensor, Sequence[int], torch.dtype, int], Tensor]:
    """`uniform` as an operator that compiled code calls: Inductor folds products that must wrap, and overflows."""

    def drawn(keys: Tensor, shape: Sequence[int], dtype: torch.dtype, first: int) -> Tensor:
        return uniform(keys, shape, dtype, first)

    def shaped(keys: Tensor, shape: Sequence[int], dtype: torch.dtype, first: int) -> Tensor:
        return keys.new_empty((len(keys), *shape), dtype=dtype)

    schema = "(Tensor keys, SymInt[] shape, ScalarType dtype, SymInt first) -> Tensor"
    operator = torch.library.custom_op("workloads::uniform", drawn, mutates_args=(), schema=schema)
    operator.register_fake(shaped)
    return operator


def normal(keys: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    r"""(S,) keys -> (S, *shape), standard normal by Box and Muller.

    One hash makes two: $\sqrt{-2 \ln u}\,(\cos 2\pi v, \sin 2\pi v)$, with u and v of 32 bits each; |x| < 6.8.
    """
    count = math.prod(shape)
    bits = _bits(keys, (count + 1) // 2)
    u = (_shifted(bits, 32).to(dtype) + 0.5) * 2.0**-32
    angle = (bits & (2**32 - 1)).to(dtype) * (2 * math.pi * 2.0**-32)
    radius = torch.sqrt(-2 * torch.log(u))
    both = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], 1)
    return both[:, :count].reshape(len(keys), *shape)
