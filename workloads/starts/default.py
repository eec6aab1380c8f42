"""PyTorch's default initialization, or what a network says of its own parameters, and He's; from named streams."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from workloads.models.laws import Constant, Law, Normal, Uniform
from workloads.models.layers import Bias, Scale
from workloads.streams import generator


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    r"""Weights and biases of linear layers and convolutions from $U(-1/\sqrt{n}, 1/\sqrt{n})$; batch norm 1 and 0.

    $n$ is the fan-in. It is what `nn.Linear.reset_parameters` draws (He uniform with $a = \sqrt 5$), but each parameter
    has a stream of its own, so that no parameter's draw depends on what else the network has. Where a module has a
    method `laws() -> {parameter name: Law}`, those of its parameters, or of its layers', come from these laws.

    Raises:
        TypeError: a module has parameters of its own and no law is known for it.
        LookupError: a module states a law for a parameter that it does not have.
    """
    stated = _stated(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
        for part, tensor in module.named_parameters(recurse=False):
            law = stated.get(_join(name, part)) or _default(module, part)
            law.draw(tensor, generator(seed, f"init:{name}.{part}"))


@torch.no_grad()
def he(model: nn.Module, seed: int, normal: bool) -> None:
    r"""Weights of linear layers and convolutions with variance $2/n$, their biases 0; all else is left as it is.

    $n$ is the fan-in, of a group where there are groups. Weights are uniform where they are not `normal`. Source: He et
    al., arXiv:1502.01852, equation 10.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            law = Normal(math.sqrt(2 / fan_in)) if normal else Uniform(math.sqrt(6 / fan_in))
            law.draw(module.weight, generator(seed, f"init:{name}.weight"))
            if module.bias is not None:
                module.bias.zero_()


def _stated(model: nn.Module) -> Mapping[str, Law]:
    """The laws that the modules state, by full parameter name; an outer module's word goes over an inner one's."""
    stated: dict[str, Law] = {}
    for name, module in model.named_modules():
        laws = getattr(module, "laws", None)
        for part, law in ({} if laws is None else laws()).items():
            stated.setdefault(_join(name, part), law)
    unknown = sorted(stated.keys() - dict(model.named_parameters()).keys())
    if unknown:
        raise LookupError(f"laws are stated for parameters that {type(model).__name__} does not have: {unknown}")
    return stated


def _join(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _default(module: nn.Module, part: str) -> Law:
    if isinstance(module, nn.Linear | nn.Conv2d):
        return Uniform(1 / math.sqrt(module.weight[0].numel()))
    if isinstance(module, Scale):
        return Constant(1.0)
    if isinstance(module, Bias):
        return Constant(0.0)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return Constant(1.0 if part == "weight" else 0.0)
    raise TypeError(f"no default initialization for {type(module).__name__}")
