"""The loss of a network over a whole set of images as a function of its parameters: value, gradient, Hessian."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 250  # images at once; it changes the rounding and nothing else
KEPT = 1 << 30  # bytes of graphs that are kept for the next product, on a CPU


class FullLoss:
    r"""$L(\phi) = \frac{1}{n} \sum_i \ell(f_\phi(x_i), y_i) + \frac{c}{2} \lVert \phi \rVert^2$, in eval mode.

    $\ell$ is the cross-entropy in nats, computed in float64 from the logits. The sum runs over chunks of images, so a
    last chunk that is smaller has its own weight; vectors, and sums over chunks, are float64. $\phi$ are all
    parameters, biases and batch norm's among them, one behind the other in the order of `named_parameters`.

    Args:
        model: Left as it is; a copy is made.
        images: As the network takes them, (n, C, H, W); labels (n,).
        weight_decay: c.
        dtype: What the network computes in.
        kept: Bytes of graphs that stay in memory, so that a product need not look at these images again; None for
            `KEPT`, or half of what a GPU has free. Products are the same without them, and slower.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
        kept: int | None = None,
    ) -> None:
        self.model = _with_scales(copy.deepcopy(model)).to(images.device, dtype).eval().requires_grad_(True)
        self.parameters = [*self.model.parameters()]
        self.chunks = [*zip(images.split(CHUNK), labels.split(CHUNK), strict=True)]
        self.count = len(labels)
        self.weight_decay = weight_decay
        self._room = _room(images.device) if kept is None else kept
        self._graphs: list[list[Tensor]] | None = None

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def vector(self) -> Tensor:
        """The parameters, (P,)."""
        return _flat(self.parameters)

    def value(self) -> float:
        """L, in nats."""
        with torch.no_grad():
            total = sum(self._summed(index).item() for index in range(len(self.chunks)))
        return total / self.count + self.weight_decay / 2 * self.vector.square().sum().item()

    def gradient(self) -> Tensor:
        """(P,)."""
        found = self.weight_decay * self.vector
        for index in range(len(self.chunks)):
            found += (
                _flat(torch.autograd.grad(self._summed(index), self.parameters, materialize_grads=True)) / self.count
            )
        return found

    def hessian(self, vector: Tensor) -> Tensor:
        """The Hessian times a vector, (P,): the gradient of the gradient's product with it, chunk by chunk."""
        sizes = [parameter.numel() for parameter in self.parameters]
        parts = [
            part.view_as(parameter).to(parameter.dtype)
            for part, parameter in zip(vector.split(sizes), self.parameters, strict=True)
        ]
        found = self.weight_decay * vector
        for gradients, again in self._gradients():
            second = torch.autograd.grad(gradients, self.parameters, parts, retain_graph=again, materialize_grads=True)
            found += _flat(second) / self.count
        return found

    def _summed(self, index: int) -> Tensor:
        """The sum of the losses of one chunk."""
        images, labels = self.chunks[index]
        outputs = self.model(images.to(self.parameters[0].dtype))
        return F.cross_entropy(outputs.double(), labels, reduction="sum")

    def _gradients(self) -> Iterator[tuple[list[Tensor], bool]]:
        """Each chunk's gradient with its graph, and whether that graph is wanted again."""
        if self._graphs is None:
            self._graphs = [self._differentiable(index) for index in range(self._fitting())]
        yield from ((kept, True) for kept in self._graphs)
        yield from ((self._differentiable(index), False) for index in range(len(self._graphs), len(self.chunks)))

    def _differentiable(self, index: int) -> list[Tensor]:
        found = torch.autograd.grad(self._summed(index), self.parameters, create_graph=True, materialize_grads=True)
        return [*found]

    def _fitting(self) -> int:
        """The graphs of how many chunks there is room for, each taken to be as large as the first."""
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self._differentiable(0)
        return min(len(self.chunks), self._room // sum(sizes.values()))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors])


def _with_scales(model: nn.Module) -> nn.Module:
    """Batch norm that shifts without a scale gets one of ones: PyTorch cannot differentiate it twice otherwise."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.bias is not None and module.weight is None:
            del module.weight
            module.register_buffer("weight", torch.ones_like(module.bias), persistent=False)
    return model


def _room(device: torch.device) -> int:
    if device.type != "cuda":
        return KEPT
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2
