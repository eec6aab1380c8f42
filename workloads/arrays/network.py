"""The stacked network: all parameters of S networks in one tensor (S, P), and the array twin that computes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn

from workloads.arrays import counter
from workloads.arrays.layers import BatchNormArray, Conv2dArray, DropoutArray, Twin, twin
from workloads.contract import stream_seed

COUNTED = "num_batches_tracked"
APART = 1 << 15  # numbers of a parameter, on average, from which on gradients stay apart on a CPU


@dataclass(frozen=True)
class Parameter:
    """Where a parameter lies in a row of the stacked weights; a kernel's input channels lie innermost."""

    name: str
    shape: torch.Size
    begin: int

    @property
    def end(self) -> int:
        return self.begin + math.prod(self.shape)

    def of(self, row: Tensor) -> Tensor:
        """The parameter in its usual shape, as a view of a row (P,)."""
        part = row[self.begin : self.end]
        if len(self.shape) != 4:
            return part.view(self.shape)
        outputs, inputs, height, width = self.shape
        return part.view(outputs, height, width, inputs).permute(0, 3, 1, 2)


class Network:
    """S networks of one architecture.

    Attributes:
        weights: (S, P); row s is network s.
        buffers: Batch norm's running statistics by name, (S, C) each, and its counters (S,).
        steps: (S,) int64, training steps each network has made; moves the streams inside a step along.
        first: How many images of the step's batch are before those that go through now.
        channels_last: How feature maps lie in memory, as `arrange` has it.
    """

    def __init__(self, build: Callable[[], nn.Module], size: int, device: str, dtype: torch.dtype) -> None:
        self.build, self.size, self.device, self.dtype = build, size, device, dtype
        model = build()
        self.layout = _layout(model)
        count = sum(parameter.numel() for parameter in model.parameters())
        self.weights = torch.zeros(size, count, dtype=dtype, device=device)
        # The leaves of the forward pass, (S, numel) each, in the place of `weights`.
        self._leaves = [
            self.weights.detach()[:, parameter.begin : parameter.end].requires_grad_() for parameter in self.layout
        ]
        self.buffers = {
            name: torch.zeros(size, *item.shape, dtype=dtype if item.is_floating_point() else item.dtype, device=device)
            for name, item in model.named_buffers()
        }
        self.steps = torch.zeros(size, dtype=torch.int64, device=device)
        self.first, self.channels_last = 0, True
        self._draw: Callable[[Tensor, Sequence[int], torch.dtype, int], Tensor] = counter.uniform
        self._twin = twin(model, size)
        self._bind_buffers()

    def _bind_buffers(self) -> None:
        self._taps: list[tuple[dict[str, Tensor], str]] = []
        modules = dict(self._twin.named_modules())
        for parameter in self.layout:
            path, _, local = parameter.name.rpartition(".")
            owner = modules[path]
            assert isinstance(owner, Twin)
            self._taps.append((owner.parts, local))
        self._streams: dict[str, Tensor] = {}
        for path, module in modules.items():
            if isinstance(module, BatchNormArray):
                module.running = {
                    name: self.buffers[f"{path}.{name}" if path else name] for name in ("running_mean", "running_var")
                }
            elif isinstance(module, DropoutArray):
                self.open_stream(f"dropout:{path}")
                module.uniform = partial(self.uniform, f"dropout:{path}")

    def keys(self, purpose: str) -> Tensor:
        """(S,): each network's key for what it draws in this step for `purpose`."""
        return counter.mix(self._streams[purpose], self.steps)

    def uniform(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """(S, *shape), uniform on [0, 1): each network's draws in this step for images (images, ...) of its batch.

        An image's draws depend on its place in the batch, not on the block of it that goes through at once.
        """
        return self._draw(self.keys(purpose), shape, self.dtype, self.first * math.prod(shape[1:]))

    def draw_opaquely(self) -> None:
        """Let what is compiled from now on call for its draws as for an operator of torch."""
        self._draw = counter.opaque_uniform()

    def open_stream(self, purpose: str) -> None:
        """Make `keys(purpose)` known, before slots are filled."""
        self._streams[purpose] = torch.zeros(self.size, dtype=torch.int64, device=self.device)

    def logits(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Images (N, S*C, H, W) -> (S, N, classes), in the mode that `train` or `evaluating` has set."""
        stacked = self._leaves
        if weights is not None:
            stacked = weights.split([parameter.end - parameter.begin for parameter in self.layout], 1)
        for (parts, local), part in zip(self._taps, stacked, strict=True):
            parts[local] = part
        return self._twin(x)

    def gradient(self, loss: Tensor) -> list[Tensor]:
        """Of a sum of what `logits` gave, by the weights: pieces (S, p), whose columns make up (S, P) one by one.

        On a CPU, to put large ones into one tensor takes up to a tenth of a step of an MLP; many small ones are put
        into one, for they would take many operations instead of one.
        """
        found = torch.autograd.grad(loss, self._leaves, materialize_grads=True)
        if self.device.startswith("cpu") and self.weights.numel() >= APART * len(found):
            return [*found]
        return [torch.cat(found, 1)]

    @property
    def has_layouts(self) -> bool:
        """Whether `arrange` changes anything."""
        return any(isinstance(module, Conv2dArray) for module in self._twin.modules())

    def arrange(self, channels_last: bool) -> None:
        """Whether feature maps have their channels innermost in memory, as kernels are stored, or outermost."""
        self.channels_last = channels_last
        for module in self._twin.modules():
            if isinstance(module, Conv2dArray):
                module.channels_last = channels_last

    def train(self) -> None:
        """Batch norm uses each batch's statistics and follows them; dropout drops."""
        self._twin.train()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Running statistics are used and not changed; nothing is dropped."""
        was_training = self._twin.training
        self._twin.eval()
        try:
            yield
        finally:
            self._twin.train(was_training)

    @property
    def normalizes(self) -> bool:
        """Whether an image's output depends on the batch it is in."""
        return bool(self.buffers)

    @torch.no_grad()
    def fill(self, slot: int, seed: int, state: Mapping[str, Tensor], steps: int = 0) -> None:
        """Put a network into a slot: its state dict, and the seed of its streams.

        Raises:
            ValueError: `state` is not that of this architecture.
        """
        named = {parameter.name: parameter.shape for parameter in self.layout}
        named.update({name: item.shape[1:] for name, item in self.buffers.items()})
        if {name: item.shape for name, item in state.items()} != named:
            raise ValueError("the weights it starts from are not those of its model")
        for parameter in self.layout:
            parameter.of(self.weights[slot]).copy_(state[parameter.name])
        for name, item in self.buffers.items():
            item[slot].copy_(state[name])
        self.steps[slot] = steps
        for purpose, keys in self._streams.items():
            keys[slot] = stream_seed(seed, purpose)

    def parameters(self, slot: int) -> dict[str, Tensor]:
        """In-place views of one network's parameters by name, in their usual shapes."""
        row = self.weights[slot]
        return {parameter.name: parameter.of(row) for parameter in self.layout}

    def state(self, slot: int) -> dict[str, Tensor]:
        """A copy of one network's state dict, on the CPU."""
        state = {name: item.cpu().clone(memory_format=torch.contiguous_format)
                 for name, item in self.parameters(slot).items()}  # fmt: skip
        return state | {name: item[slot].cpu().clone() for name, item in self.buffers.items()}

    def count_steps(self, steps: int) -> None:
        """Batch norm's counters, once an epoch instead of once a layer and step."""
        for name, item in self.buffers.items():
            if name.endswith(COUNTED):
                item.add_(steps)

    @torch.no_grad()
    def take(self, slots: Sequence[int]) -> Network:
        """A smaller array of some of the networks; copies. Their maps lie in memory as they did: not all ways work."""
        taken = Network(self.build, len(slots), self.device, self.dtype)
        taken.arrange(self.channels_last)
        index = torch.tensor(slots, device=self.device)
        taken.weights.copy_(self.weights[index])
        for name, item in self.buffers.items():
            taken.buffers[name].copy_(item[index])
        taken._streams.update({purpose: keys[index] for purpose, keys in self._streams.items()})
        taken.steps.copy_(self.steps[index])
        taken._twin.train(self._twin.training)
        return taken


def _layout(model: nn.Module) -> tuple[Parameter, ...]:
    """The parameters in the order of the module, one behind the other."""
    named = [(name, item.shape) for name, item in model.named_parameters()]
    begins = accumulate((math.prod(shape) for _, shape in named), initial=0)
    return tuple(Parameter(name, shape, begin) for (name, shape), begin in zip(named, begins, strict=False))
