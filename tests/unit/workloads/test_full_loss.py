"""The full loss against autograd's own Hessian, on quadratics and networks; chunks and kept graphs change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from workloads.models import Conv4
from workloads.spectra import loss
from workloads.spectra.extremes import lanczos
from workloads.spectra.loss import FullLoss


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def images(count: int = 7) -> tuple[Tensor, Tensor]:
    return drawn(count, 1, 4, 4), torch.arange(count) % 3


def network() -> nn.Module:
    """With batch norm, whose running statistics are not those of any batch."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Softplus(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    for index, tensor in enumerate(model.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(0.5 * drawn(*tensor.shape, seed=index).abs() + 0.1)
    return model


def by_hand(model: nn.Module, x: Tensor, y: Tensor, decay: float) -> Callable[[Tensor], Tensor]:
    """The loss as a function of one vector, without chunks."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}

    def value(vector: Tensor) -> Tensor:
        parts = vector.split([math.prod(shape) for shape in shapes.values()])
        given = {name: part.view(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
        return F.cross_entropy(functional_call(model.eval(), given, x), y) + decay / 2 * vector.square().sum()

    return value


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """7 images in chunks of 3, 3 and 1."""
    monkeypatch.setattr(loss, "CHUNK", 3)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_value_gradient_and_hessian_are_those_of_the_whole_set(decay: float):
    """Check 5: the Hessian with l2 is H + c I; the last chunk, a third of the others, has a third of their weight."""
    model, (x, y) = network(), images()
    found = FullLoss(model, x, y, decay, torch.float64)
    slow = by_hand(model, x, y, decay)
    vector = found.vector
    assert found.value() == pytest.approx(slow(vector).item(), rel=1e-13)
    torch.testing.assert_close(found.gradient(), torch.func.grad(slow)(vector), rtol=0, atol=1e-13)
    matrix = torch.func.hessian(slow)(vector)
    made = torch.stack([found.hessian(column) for column in torch.eye(found.size, dtype=torch.float64)])
    torch.testing.assert_close(made, matrix, rtol=0, atol=1e-12)
    values = torch.linalg.eigvalsh(matrix)
    ends = lanczos(found.hessian, drawn(found.size), 1e-10, 500)
    assert ends.smallest.value == pytest.approx(values[0].item(), abs=1e-10)
    assert ends.largest.value == pytest.approx(values[-1].item(), abs=1e-10)


@pytest.mark.usefixtures("small_chunks")
def test_kept_graphs_change_no_bit():
    model, (x, y) = network(), images()
    losses = [FullLoss(model, x, y, 0.1, torch.float32, kept) for kept in (0, 5_000, 1 << 30)]
    vector = drawn(losses[0].size)
    for _ in range(2):
        one, some, all_of_them = (item.hessian(vector) for item in losses)
        assert torch.equal(one, some)
        assert torch.equal(one, all_of_them)
    kept = [len(item._graphs or []) for item in losses]
    assert kept[0] == 0
    assert 0 < kept[1] < kept[2] == 3


def test_the_model_is_left_alone():
    model, (x, y) = network().train(), images()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = FullLoss(model, x, y)
    found.gradient()
    found.hessian(found.vector)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class Quadratic(nn.Module):
    r"""Two logits, 0 and $-\log(e^q - 1)$ with $q = w^\top H w / 2 + 1$: the cross-entropy of the second is q."""

    def __init__(self, matrix: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """The same for every image."""
        loss = self.weight @ self.get_buffer("matrix") @ self.weight / 2 + 1
        logits = torch.stack([torch.zeros_like(loss), -torch.log(torch.expm1(loss))])
        return logits.expand(len(x), 2)


def test_a_quadratic_loss_has_its_matrix_for_a_hessian():
    """Check 5: HVP = H w, and both ends of H; with l2 they move by c."""
    values = torch.tensor([-0.3, 0.01, 0.5, 2.0], dtype=torch.float64)
    turn, _ = torch.linalg.qr(drawn(4, 4))
    matrix, weight = turn @ torch.diag(values) @ turn.T, 0.1 * drawn(4, seed=1)
    x, y = torch.zeros(5, 1, 1, 1, dtype=torch.float64), torch.ones(5, dtype=torch.int64)
    for decay in (0.0, 0.05):
        found = FullLoss(Quadratic(matrix, weight), x, y, decay, torch.float64)
        vector = drawn(4, seed=2)
        torch.testing.assert_close(found.hessian(vector), matrix @ vector + decay * vector)
        torch.testing.assert_close(found.gradient(), matrix @ weight + decay * weight)
        ends = lanczos(found.hessian, vector, 1e-12, 50)
        assert ends.smallest.value == pytest.approx(-0.3 + decay, abs=1e-12)
        assert ends.largest.value == pytest.approx(2.0 + decay, abs=1e-12)


def test_single_precision_is_near_double():
    model = Conv4(width=4).build((1, 8, 8), 3)
    for index, parameter in enumerate(model.parameters()):
        parameter.data = (0.2 * drawn(*parameter.shape, seed=index)).float()
    x, y = drawn(300, 1, 8, 8).float(), torch.arange(300) % 3
    single, double = (FullLoss(model, x, y, dtype=dtype) for dtype in (torch.float32, torch.float64))
    vector = drawn(single.size)
    torch.testing.assert_close(single.hessian(vector), double.hessian(vector), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(single.gradient(), double.gradient(), rtol=1e-4, atol=1e-6)
