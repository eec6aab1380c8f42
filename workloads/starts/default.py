"""PyTorch's default initialization, drawn from named streams."""

from __future__ import annotations

import math

import torch
from torch import nn

from workloads.streams import generator


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    r"""Weights and biases of linear layers and convolutions from $U(-1/\sqrt{n}, 1/\sqrt{n})$; batch norm 1 and 0.

    $n$ is the fan-in. It is what `nn.Linear.reset_parameters` draws (He uniform with $a = \sqrt 5$), but each parameter
    has a stream of its own, so that no parameter's draw depends on what else the network has.

    Raises:
        TypeError: a module has parameters of its own and no law is known for it.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for part, tensor in module.named_parameters(recurse=False):
                tensor.uniform_(-bound, bound, generator=generator(seed, f"init:{name}.{part}"))
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"no default initialization for {type(module).__name__}")
