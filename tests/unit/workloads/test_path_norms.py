"""Path norms against enumeration and against matrices written out entry by entry."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.unit.workloads import functional_networks as formulas
from tests.unit.workloads.functional_networks import Formula
from tests.unit.workloads.test_models_outputs import CASES, Case, ruled
from workloads.datasets.images import Data
from workloads.measures.path_network import path_network
from workloads.measures.paths import log_path_norm
from workloads.measures.snapshot import Snapshot
from workloads.models.branching import DenseNet40
from workloads.models.layers import Polynomial
from workloads.models.plain import VGG16, NTKConvNet
from workloads.models.plain_networks import vgg16
from workloads.models.residual import MobileNetV2, ResNet18, ResNet20Fixup, ResNet50, WideResNet
from workloads.models.residual_networks import BasicBlock, FixupBlock, resnet

# Over how many places the average-pools on every path take their means, all told; 1: there are none.
AVERAGED: dict[type, int] = {
    VGG16: 1, NTKConvNet: 1, ResNet18: 4, ResNet50: 4, ResNet20Fixup: 9, WideResNet: 9, MobileNetV2: 4,
    DenseNet40: 4 * 4 * 16,
}  # fmt: skip
W1, W2 = [[1.0, -2.0], [3.0, 0.5]], [[2.0, -1.0]]


def snapshot(model: nn.Module, shape: tuple[int, int, int]) -> Snapshot:
    x, y = torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    return Snapshot(model.eval(), {}, Data(x, y, x, y, (0.0,) * shape[0], (1.0,) * shape[0], 2), "cpu")


def two_layers() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    for layer, weight in ((model[1], W1), (model[3], W2)):
        assert isinstance(layer, nn.Linear)
        layer.weight.data = torch.tensor(weight)
    return model


@pytest.mark.parametrize(("p", "total"), [(1, 9.5), (2, 29.25)])
def test_two_layers_equal_the_enumeration_of_their_paths(p: int, total: float):
    """Check 1 of the known answers."""
    paths = [abs(W2[0][h] * W1[h][i]) ** p for h, i in itertools.product(range(2), range(2))]
    assert sum(paths) == total
    assert log_path_norm(snapshot(two_layers(), (2, 1, 1)), p=p) == pytest.approx(math.log(total) / p, rel=1e-14)


def matrix(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """The matrix of a linear map of one image, a column for each entry of the image."""
    size = math.prod(shape)
    return torch.stack([function(column.view(1, *shape)).flatten() for column in torch.eye(size).double()], 1)


def powers(layer: nn.Module, shape: tuple[int, ...], p: int) -> Tensor:
    """|entry|^p of the layer's matrix without its bias: what one layer adds to each path through it."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    return matrix(lambda x: layer(x) - layer(zero), shape).abs().pow(p)


def randomized(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
        elif name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return model.double().eval()


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize(("channels_in", "channels", "stride"), [(2, 2, 1), (2, 3, 2)])
def test_a_residual_block_with_batch_norm_equals_its_matrices(p: int, channels_in: int, channels: int, stride: int):
    block = randomized(BasicBlock(channels_in, channels, stride))
    assert isinstance(block, BasicBlock)
    below, above = (channels_in, 3, 3), (channels, *([3, 3] if stride == 1 else [2, 2]))
    folded1 = nn.Sequential(block.conv1, block.bn1)  # the convolution with batch norm folded into it
    folded2 = nn.Sequential(block.conv2, block.bn2)
    shortcut = powers(block.shortcut, below, p) if len(block.shortcut) else torch.eye(18).double()
    slow = powers(folded2, above, p) @ powers(folded1, below, p) + shortcut
    fast = path_network(block, p)(torch.ones(1, *below, dtype=torch.float64)).flatten()
    torch.testing.assert_close(fast, slow.sum(1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [1, 2])
def test_pools_are_sums_over_their_windows(p: int):
    ones = torch.arange(1.0, 17.0).double().view(1, 1, 4, 4)
    found = path_network(nn.Sequential(nn.MaxPool2d(2)), p)(ones)
    assert found.flatten().tolist() == [14.0, 22.0, 46.0, 54.0]
    padded = path_network(nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1)), p)(torch.ones(1, 1, 4, 4).double())
    assert padded.flatten().tolist() == [4.0, 6.0, 6.0, 9.0]
    average = path_network(nn.Sequential(nn.AvgPool2d(2)), p)(ones)
    torch.testing.assert_close(average, found / 4**p)
    whole = path_network(nn.Sequential(nn.AdaptiveAvgPool2d(1)), p)(ones)
    assert whole.item() == pytest.approx(136 / 16**p)


@pytest.mark.parametrize("p", [1, 2])
def test_a_fixup_block_scales_and_ignores_its_biases(p: int):
    block = randomized(FixupBlock(2, 2, 1, 3))
    assert isinstance(block, FixupBlock)
    below = (2, 3, 3)
    slow = powers(block.conv2, below, p) @ powers(block.conv1, below, p) * block.scale.scale.abs().pow(p)
    fast = path_network(block, p)(torch.ones(1, *below, dtype=torch.float64)).flatten()
    torch.testing.assert_close(fast, slow.sum(1) + 1, rtol=1e-12, atol=0)


def on_paths(state: dict[str, Tensor], p: int) -> dict[str, Tensor]:
    """The state of the network that sums over paths: |w|^p, nothing added, batch norm folded to |gamma / std|^p."""
    made = {name: item.abs().pow(p) for name, item in state.items()}
    for name, variance in state.items():
        if name.endswith("running_var"):
            norm = name.removesuffix(".running_var")
            gamma = state.get(f"{norm}.weight", torch.ones_like(variance))
            made[f"{norm}.weight"] = (gamma.abs() / (variance + 1e-5).sqrt()).pow(p)
            made[name] = torch.ones_like(variance) - 1e-5
    return {name: 0 * item if name.endswith(("bias", "running_mean")) else item for name, item in made.items()}


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize(
    ("case", "averaged"),
    [(case, AVERAGED[type(case.config)]) for case in CASES if type(case.config) in AVERAGED],
    ids=lambda value: type(value.config).__name__ if isinstance(value, Case) else "",
)
def test_whole_networks_equal_their_formulas(case: Case, averaged: int, p: int, monkeypatch: pytest.MonkeyPatch):
    """Check 1, of the networks as they are used: shortcuts, concatenations, pools, batch norm before and behind."""

    def sums(x: Tensor, window: int) -> Tensor:
        return x.unfold(2, window, window).unfold(3, window, window).sum((-1, -2))

    monkeypatch.setattr(formulas.F, "max_pool2d", sums)
    model = ruled(case)
    formula = Formula(on_paths(model.state_dict(), p), training=False)
    images = torch.ones(1, 2, case.side, case.side, dtype=torch.float64)
    means = case.formula(formula, images).sum().item()
    total = means / averaged ** (p - 1)  # a path has (1 / places)^p where a mean has 1 / places
    monkeypatch.undo()
    assert log_path_norm(snapshot(model, (2, case.side, case.side)), p=p) == pytest.approx(math.log(total) / p)


def test_weights_that_are_no_numbers_have_no_path_norm():
    model = two_layers()
    model[1].weight.data[0, 0] = math.nan  # pyright: ignore
    assert math.isnan(log_path_norm(snapshot(model, (2, 1, 1))))


def test_a_deep_network_has_a_logarithm_where_its_path_norm_overflows():
    model = nn.Sequential(nn.Flatten(), *(layer for _ in range(40) for layer in (nn.Linear(4, 4), nn.ReLU())))
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.data.fill_(1e8)
    assert log_path_norm(snapshot(model, (4, 1, 1))) == pytest.approx(40 * math.log(4e8) + math.log(4), rel=1e-12)


@pytest.mark.parametrize("model", [resnet(BasicBlock, (1, 1), 3, 4, 10), vgg16(3, (8, 8), 4, 10)])
def test_the_network_itself_stays_as_it_was(model: nn.Module):
    randomized(model)
    before = {name: item.clone() for name, item in model.state_dict().items()}
    assert math.isfinite(log_path_norm(snapshot(model, (3, 8, 8)), p=2))
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())


def test_rescaling_two_layers_changes_no_path():
    plain, scaled = two_layers(), two_layers()
    scaled[1].weight.data.mul_(4)  # pyright: ignore[reportIndexIssue]
    scaled[3].weight.data.div_(4)  # pyright: ignore[reportIndexIssue]
    assert log_path_norm(snapshot(plain, (2, 1, 1))) == pytest.approx(log_path_norm(snapshot(scaled, (2, 1, 1))))


def test_a_polynomial_has_no_path_norm():
    with pytest.raises(ValueError, match="not positively homogeneous"):
        path_network(nn.Sequential(Polynomial((0.0, 1.0))), 1)
