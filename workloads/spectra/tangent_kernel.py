r"""The empirical neural tangent kernel, layer by layer: the Jacobian of all parameters never exists.

$\Phi_{ijkl} = \sum_p \partial_p f_k(x_i)\, \partial_p f_l(x_j)$ is a sum over layers. For one layer it needs what goes
into it, $u_i$, and the logits' gradients by what comes out of it, $d_{ik} = \partial f_k(x_i) / \partial y_i$; these
take one forward pass and as many backward passes as there are logits, over all images together and past no weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from workloads.training.evaluation import eval_mode

BLOCK = 1 << 26  # numbers of a layer's Jacobian, or of its products, that exist at once
FEW = 5  # a sum over one in so many places is faster than the product over all of them
STRIPE = 64  # columns of a symmetric product that are computed at once, from their diagonal down


@dataclass(frozen=True)
class Use:
    """One layer in one forward pass: its inputs, each (N, ...), and a zero that was added to its output (N, ...)."""

    layer: nn.Module
    inputs: tuple[Tensor, ...]
    added: Tensor


def tangent_kernel(model: nn.Module, images: Tensor) -> Tensor:
    r"""$\Phi$ in eval mode, (N, N, K, K), float64: symmetric under (i, k) <-> (j, l) and positive semidefinite.

    Layers are computed in the model's own precision and added in float64; all parameters count, biases and batch
    norm's among them.

    Args:
        model: Of layers that are each used once. Left as it is.
        images: (N, C, H, W), as the network takes them.

    Raises:
        ValueError: a layer with parameters is used twice, or never by calling it.
    """
    if images.device.type == "cpu" and images.dim() == 4 and not any(map(_unsafe_innermost, model.modules())):
        images = images.contiguous(memory_format=torch.channels_last)  # a CPU's convolutions are faster so
    with eval_mode(model), torch.enable_grad():
        uses, logits = _forward(model, images)
        return _sum(uses, logits)


def _unsafe_innermost(layer: nn.Module) -> bool:
    """Whether oneDNN's gradient of it may write past its workspace, as `workloads.arrays.layers` tells."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1)


def _forward(model: nn.Module, images: Tensor) -> tuple[list[Use], Tensor]:
    """The layers that have parameters, as one forward pass uses them, and its logits (N, K)."""
    layers = [layer for layer in model.modules() if [*layer.parameters(recurse=False)]]
    uses: list[Use] = []

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added = torch.zeros_like(output, requires_grad=True)
        uses.append(Use(layer, tuple(it.detach() for it in inputs), added))
        return output + added

    hooks = [layer.register_forward_hook(watch) for layer in layers]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if len(uses) != len(layers) or {use.layer for use in uses} != {*layers}:
        raise ValueError("tangent kernel: wants every layer that has parameters to be called, and once")
    return uses, logits


def _sum(uses: list[Use], logits: Tensor) -> Tensor:
    """Over the layers of one forward pass: (N, N, K, K)."""
    count, outputs = logits.shape
    added = [use.added for use in uses]
    backward = [
        torch.autograd.grad(logits[:, k].sum(), added, retain_graph=True, materialize_grads=True)
        for k in range(outputs)
    ]
    total = logits.new_zeros(count * outputs, count * outputs, dtype=torch.float64)
    with torch.no_grad():
        for index, use in enumerate(uses):
            total += _layer(use, [gradients[index] for gradients in backward])
    total = (total + total.T) / 2  # products of matrices round differently on the two sides
    return total.view(count, outputs, count, outputs).transpose(1, 2)


def _layer(use: Use, gradients: list[Tensor]) -> Tensor:
    """One layer's part (NK, NK), of the K logits' gradients by its output, each (N, O, ...)."""
    layer = use.layer
    if isinstance(layer, nn.Linear) and use.inputs[0].dim() == 2:
        return _linear(layer, use.inputs[0].double(), torch.stack(gradients, 1).double())
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and not isinstance(layer.padding, str):
        return _convolution(layer, use.inputs[0], [it.flatten(2) for it in gradients])
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.track_running_stats:
        return _batch_norm(layer, use.inputs[0], gradients)
    return _any(use, torch.stack(gradients, 1))


def _channels_last(values: Tensor) -> Tensor:
    """(N, P, O) of a layer's values (N, O, ...): P places of a map, or one."""
    return values.movedim(1, -1).reshape(len(values), -1, values.shape[1])


def _linear(layer: nn.Linear, u: Tensor, d: Tensor) -> Tensor:
    r"""$(d_{ik} \cdot d_{jl})(u_i \cdot u_j + 1)$, without the 1 where there is no bias; d is (N, K, O)."""
    inputs = u @ u.T + (layer.bias is not None)
    flat = d.flatten(0, 1)
    outputs = d.shape[1]
    return (flat @ flat.T) * inputs.repeat_interleave(outputs, 0).repeat_interleave(outputs, 1)


def _convolution(layer: nn.Conv2d, x: Tensor, d: Sequence[Tensor]) -> Tensor:
    """By the Jacobian, some output channels at a time, or by pairs of images, whichever is less to compute.

    The gradients d of each logit are (N, O, P), with P places of the map.
    """
    u = _patches(layer, x)
    (count, places, inputs), outputs, channels = u.shape, len(d), d[0].shape[1]
    rows = count * outputs
    by_pairs = count**2 / 2 * places * (places * (inputs + outputs * channels) + outputs**2 * channels)
    by_jacobian = rows * channels * inputs * (places + rows / 2)
    found = _by_pairs(u, d) if by_pairs < by_jacobian else _by_jacobian(u, d)
    if layer.bias is not None:
        bias = torch.stack([it.sum(2) for it in d], 1).flatten(0, 1).double()
        found += bias @ bias.T
    return found


def _patches(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution sees at each place: (N, P, I) with I = kh kw C."""
    assert not isinstance(layer.padding, str)
    (down, right), (high, wide) = layer.dilation, layer.kernel_size
    x = F.pad(x, (layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0]))
    x = x.unfold(2, down * (high - 1) + 1, layer.stride[0]).unfold(3, right * (wide - 1) + 1, layer.stride[1])
    return x[..., ::down, ::right].permute(0, 2, 3, 4, 5, 1).reshape(len(x), -1, high * wide * x.shape[1])


def _by_jacobian(u: Tensor, d: Sequence[Tensor]) -> Tensor:
    r"""$J J^\top$ with $J_{ik} = \sum_p d_{ik}(o, p)\, u_i(p, c)$."""
    (count, channels, places), outputs = d[0].shape, len(d)
    total = u.new_zeros(count * outputs, count * outputs, dtype=torch.float64)
    at_once = max(1, BLOCK // (count * outputs * max(places, u.shape[2])))
    for first in range(0, channels, at_once):
        jacobian = _jacobian(u, [it[:, first : first + at_once] for it in d]).view(count * outputs, -1)
        for begin in range(0, len(jacobian), STRIPE):
            total[begin:, begin : begin + STRIPE] += jacobian[begin:] @ jacobian[begin : begin + STRIPE].T
    return _mirrored(total)


def _jacobian(u: Tensor, d: Sequence[Tensor]) -> Tensor:
    """(N, KO, I), on a CPU by the few places of a channel to which a max-pool hands its gradients, if one follows."""
    if u.device.type == "cpu" and u.dtype == torch.float32:
        there = d[0] != 0
        most = int(there.sum(2).max())
        if 0 < most * FEW <= there.shape[2]:
            places = there.float().topk(most).indices  # (N, O, most)
            weights = torch.stack([it.gather(2, places) for it in d], 1)
            elsewhere = sum(int(it.count_nonzero()) for it in d) - int(weights.count_nonzero())
            if not elsewhere:  # all logits have the places of the first
                return _by_places(u, places, weights)
    return torch.bmm(torch.stack([*d], 1).flatten(1, 2), u)


def _by_places(u: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    r"""$\sum_q w_{ik}(o, q)\, u_i(p_i(o, q), c)$, (N, KO, I), of places (N, O, Q) and weights (N, K, O, Q)."""
    first = torch.arange(0, u.shape[0] * u.shape[1], u.shape[1], dtype=torch.int32)
    rows = (places.int() + first[:, None, None])[:, None].expand_as(weights).reshape(-1, places.shape[2])
    given = weights.view_as(rows)
    found = F.embedding_bag(rows, u.flatten(0, 1), mode="sum", per_sample_weights=given)
    return found.view(len(u), -1, u.shape[2])


def _by_pairs(u: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    r"""$\sum_{o, q} d_{jl}(o, q) \sum_p d_{ik}(o, p)\, u_i(p) \cdot u_j(q)$: for many channels on few places."""
    d = torch.stack([*gradients], 1)
    count, outputs, channels, places = d.shape
    total = d.new_zeros(count, outputs, count, outputs, dtype=torch.float64)
    at_once = max(1, BLOCK // (places * max(places, outputs * channels)))
    for i in range(count):
        left = d[i].reshape(outputs * channels, places)
        for j in range(i, count, at_once):
            others, there = d[j : j + at_once], slice(j, j + at_once)
            inner = u[i] @ u[there].transpose(1, 2)  # (n, P, P)
            carried = (left @ inner).view(-1, outputs, channels * places)
            total[there, :, i] = torch.bmm(others.flatten(2), carried.transpose(1, 2)).double()
    return _mirrored(total.view(count * outputs, -1))


def _mirrored(lower: Tensor) -> Tensor:
    """A symmetric matrix of which the lower triangle was computed."""
    return lower.tril() + lower.tril(-1).T


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, gradients: list[Tensor]) -> Tensor:
    r"""$J J^\top$ with $J_{ik} = (\sum_p d_{ik}(o, p)\, \hat x_i(o, p), \sum_p d_{ik}(o, p))$, $\hat x$ normalized."""
    rows = []
    normalized = _channels_last(F.batch_norm(x, layer.running_mean, layer.running_var, eps=layer.eps))
    for d in map(_channels_last, gradients):
        parts = [part for there, part in ((layer.weight, d * normalized), (layer.bias, d)) if there is not None]
        rows.append(torch.cat([part.sum(1) for part in parts], 1) if parts else d.new_zeros(len(d), 0))
    jacobian = torch.stack(rows, 1).flatten(0, 1).double()
    return jacobian @ jacobian.T


def _any(use: Use, d: Tensor) -> Tensor:
    """Of any layer, by its own derivative: for those with few parameters."""
    parameters = {name: it.detach() for name, it in use.layer.named_parameters(recurse=False)}

    def pull(inputs: tuple[Tensor, ...], one: Tensor) -> Tensor:
        """The gradients of one logit of one image, as one vector."""

        def output(given: dict[str, Tensor]) -> Tensor:
            return functional_call(use.layer, given, tuple(it[None] for it in inputs))[0]

        back = vjp(output, parameters)[1]
        return torch.cat([part.flatten() for part in back(one)[0].values()])

    over_logits = vmap(pull, in_dims=(None, 0))
    jacobian = vmap(over_logits, in_dims=(0, 0))(use.inputs, d).flatten(0, 1).double()
    return jacobian @ jacobian.T


def relative_change(first: Tensor, second: Tensor) -> float:
    r"""$\lVert \Phi_2 - \Phi_1 \rVert / \lVert \Phi_1 \rVert$ (figure 1a); inf where the first is 0 and both differ."""
    return _ratio((second - first).norm().item(), first.norm().item())


def norm_change(first: Tensor, second: Tensor) -> float:
    r"""$|\lVert \Phi_1 \rVert - \lVert \Phi_2 \rVert| / \lVert \Phi_1 \rVert$ (figure 4)."""
    return _ratio(abs(first.norm().item() - second.norm().item()), first.norm().item())


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's, of the entries of both (figure 1b); nan where one is constant."""
    one, other = (kernel - kernel.mean() for kernel in (first, second))
    return similarity(one, other)


def similarity(first: Tensor, second: Tensor) -> float:
    r"""$\langle \Phi_1, \Phi_2 \rangle / (\lVert \Phi_1 \rVert \lVert \Phi_2 \rVert)$ (figure 4); nan if one is 0."""
    return _ratio((first * second).sum().item(), first.norm().item() * second.norm().item())


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return math.inf if part else math.nan
