"""Models and starts: exact parameter counts, the law of the initialization, nothing drawn from the global generator."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workloads.models import MLP, Model, ResNet18
from workloads.starts.default import initialize

CASES = [
    (ResNet18(), (3, 32, 32), 10, 11_173_962),
    (MLP(width=2048, depth=3), (3, 32, 32), 10, 14_706_698),
    (MLP(width=256, depth=2), (1, 8, 8), 10, 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
    (MLP(depth=0), (1, 2, 2), 3, 4 * 3 + 3),
]


@pytest.mark.parametrize(("config", "shape", "classes", "count"), CASES, ids=lambda value: str(value)[:20])
def test_parameter_count(config: Model, shape: tuple[int, int, int], classes: int, count: int):
    model = config.build(shape, classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    initialize(model, 0)
    assert model(torch.zeros(2, *shape)).shape == (2, classes)


def test_resnet18_has_the_norm_of_pytorchs_initialization():
    model = ResNet18().build((3, 32, 32), 10)
    initialize(model, 0)
    total = sum(parameter.double().square().sum().item() for parameter in model.parameters())
    gamma = sum(
        item.weight.double().square().sum().item() for item in model.modules() if isinstance(item, nn.BatchNorm2d)
    )
    assert total == pytest.approx(6402, rel=0.01)
    assert gamma == 4800


def test_initialization_has_pytorchs_law():
    model = MLP(width=1000, depth=1).build((1, 10, 10), 10)
    initialize(model, 3)
    first = model.get_submodule("1")
    assert isinstance(first, nn.Linear)
    bound = 1 / math.sqrt(100)
    reference = nn.Linear(100, 1000)
    for ours, theirs in ((first.weight, reference.weight), (first.bias, reference.bias)):
        assert ours.abs().max().item() <= bound
        assert ours.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert theirs.abs().max().item() <= bound
    assert first.weight.mean().item() == pytest.approx(0, abs=bound / 100)


def test_building_and_initializing_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    initialize(ResNet18(width=4).build((3, 32, 32), 10), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_seed_decides_and_a_parameters_draw_depends_on_nothing_else():
    def weights(width: int, depth: int, seed: int) -> dict[str, torch.Tensor]:
        model = MLP(width=width, depth=depth).build((1, 4, 4), 10)
        initialize(model, seed)
        return dict(model.named_parameters())

    assert torch.equal(weights(8, 1, 0)["1.weight"], weights(8, 1, 0)["1.weight"])
    assert not torch.equal(weights(8, 1, 0)["1.weight"], weights(8, 1, 1)["1.weight"])
    assert torch.equal(weights(8, 1, 0)["1.weight"], weights(8, 3, 0)["1.weight"]), "a deeper network starts alike"


def test_unknown_module_is_refused():
    with pytest.raises(TypeError, match="LayerNorm"):
        initialize(nn.Sequential(nn.LayerNorm(3)), 0)


def test_a_known_output():
    model = MLP(width=2, depth=1).build((1, 1, 2), 2)
    with torch.no_grad():
        for parameter, value in zip(
            model.parameters(), ([[1, -1], [2, 0]], [0, -1], [[1, 1], [1, -1]], [0, 5]), strict=True
        ):
            parameter.copy_(torch.tensor(value))
    # hidden = relu([3 - 1, 2 * 3 - 1]) = [2, 5]; output = [7, -3 + 5]
    assert model(torch.tensor([[[[3.0, 1.0]]]])).tolist() == [[7.0, 2.0]]
