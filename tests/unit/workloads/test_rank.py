"""Effective rank as a measure: of layers at the size they see, with the published grids as another choice."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from workloads.datasets.images import Data
from workloads.measures.rank import effective_rank, mean_effective_rank
from workloads.measures.snapshot import Snapshot
from workloads.models import MobileNetV2, ResNet18
from workloads.spectra import convolution
from workloads.starts.default import initialize


def snapshot(model: nn.Module, channels: int = 3, side: int = 32) -> Snapshot:
    x, y = torch.zeros(1, channels, side, side, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    return Snapshot(model.eval(), {}, Data(x, y, x, y, (0.0,) * channels, (1.0,) * channels, 10), "cpu")


def resnet() -> nn.Module:
    model = ResNet18(width=2).build((3, 32, 32), 10)
    initialize(model, 0)
    return model


def test_identities_have_the_root_of_what_they_pass():
    """Check 3: 4 channels on 8x8 give 16. The second layer halves and sees 8x8 too: 4 channels on 4x4 come out."""
    first, second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    for layer in (first, second):
        nn.init.dirac_(layer.weight)
    found = snapshot(nn.Sequential(first, nn.Conv2d(4, 4, 1), second), channels=4, side=8)
    assert effective_rank(found) == pytest.approx(16)
    assert effective_rank(found, layer=1) == pytest.approx(8), "sqrt(4 * 16); 1x1 kernels are not counted"
    ranks = mean_effective_rank(found)
    assert ranks.value == pytest.approx(12)
    assert ranks.arrays["ranks"].tolist() == pytest.approx([16, 8])


def test_each_layer_is_measured_at_the_size_it_sees():
    """ResNet-18: the stem and 16 convolutions, shortcuts not; sizes 32, 32, 16, 8, each stage's first with stride 2."""
    model = resnet()
    ranks = mean_effective_rank(snapshot(model)).arrays["ranks"]
    assert len(ranks) == 17
    layers = [it for it in model.modules() if isinstance(it, nn.Conv2d) and it.kernel_size == (3, 3)]
    seen = [32] * 6 + [16] * 4 + [8] * 4 + [4] * 3
    strides = [1] * 5 + [2, 1, 1, 1] * 3
    assert [it.stride[0] for it in layers] == strides
    for rank, layer, side, stride in zip(ranks, layers, seen, strides, strict=True):
        values = convolution.singular_values(layer.weight.detach(), (side, side), stride)
        assert rank == pytest.approx(convolution.effective_rank(values).item())
        assert 1 <= rank <= math.sqrt(len(values))


def test_the_published_grids_are_56_28_14_and_7_without_strides():
    model = resnet()
    found = mean_effective_rank(snapshot(model), grid="published").arrays["ranks"]
    layers = [it for it in model.modules() if isinstance(it, nn.Conv2d) and it.kernel_size == (3, 3)]
    for rank, layer, side in zip(found, layers, [32] + [56] * 4 + [28] * 4 + [14] * 4 + [7] * 4, strict=True):
        values = convolution.singular_values(layer.weight.detach(), (side, side))
        assert rank == pytest.approx(convolution.effective_rank(values).item())


def test_the_scale_of_weights_does_not_matter():
    """Check 26."""
    model = resnet()
    before = effective_rank(snapshot(model), layer=7)
    for parameter in model.parameters():
        parameter.data *= 1e-3
    assert effective_rank(snapshot(model), layer=7) == pytest.approx(before)


def test_groups_are_maps_of_their_own():
    """A depthwise layer's matrix is one block for each channel."""
    layer = nn.Conv2d(3, 6, 3, padding=1, groups=3)
    weight = torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    layer.weight.data = weight
    whole = torch.zeros(6, 3, 3, 3)
    for out in range(6):
        whole[out, out // 2] = weight[out, 0]
    expected = convolution.effective_rank(convolution.singular_values(whole, (8, 8))).item()
    assert effective_rank(snapshot(nn.Sequential(layer), side=8)) == pytest.approx(expected)
    mobile = MobileNetV2(width=4).build((3, 32, 32), 10)
    initialize(mobile, 0)
    assert len(mean_effective_rank(snapshot(mobile)).arrays["ranks"]) == 18, "the stem and 17 depthwise ones"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": 17}, "within 0 and 16, got 17"),
        ({"layer": -1}, "within 0 and 16"),
        ({"grid": "imagenet"}, "one of input, published"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        effective_rank(snapshot(resnet()), **options)


def test_networks_without_convolutions_have_none():
    with pytest.raises(ValueError, match="no convolution"):
        mean_effective_rank(snapshot(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))))
