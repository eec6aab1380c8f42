"""How networks start: PyTorch's law, the laws that networks state, nothing drawn from the global generator."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from workloads.models import MLP, ResNet18
from workloads.models.base import Network
from workloads.models.branching import DenseNet40, SmallInception
from workloads.models.laws import Constant, Law
from workloads.models.layers import Bias, Scale, shift_only_batch_norm
from workloads.models.plain import AllConvolutional
from workloads.models.residual import ResNet20Fixup
from workloads.starts.default import initialize


def started(config: Network, seed: int = 0, shape: tuple[int, int, int] = (3, 8, 8)) -> dict[str, Tensor]:
    model = config.build(shape, 10)
    initialize(model, seed)
    return dict(model.named_parameters())


def test_initialization_has_pytorchs_law():
    model = MLP(width=1000, depth=1).build((1, 10, 10), 10)
    initialize(model, 3)
    first = model.get_submodule("1")
    assert isinstance(first, nn.Linear)
    bound = torch.tensor(1 / math.sqrt(100), dtype=torch.float32).item()  # a draw may fall on it: float32's 0.1 > 0.1
    reference = nn.Linear(100, 1000)
    for ours, theirs in ((first.weight, reference.weight), (first.bias, reference.bias)):
        assert ours.abs().max().item() <= bound
        assert ours.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert theirs.abs().max().item() <= bound
    assert first.weight.mean().item() == pytest.approx(0, abs=bound / 100)


def test_building_and_initializing_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    for config in (ResNet18(width=4), ResNet20Fixup(width=4), DenseNet40(growth=2), SmallInception(width=6)):
        started(config)
    assert torch.equal(torch.get_rng_state(), before)


def test_seed_decides_and_a_parameters_draw_depends_on_nothing_else():
    def weights(width: int, depth: int, seed: int) -> Mapping[str, Tensor]:
        return started(MLP(width=width, depth=depth), seed, (1, 4, 4))

    assert torch.equal(weights(8, 1, 0)["1.weight"], weights(8, 1, 0)["1.weight"])
    assert not torch.equal(weights(8, 1, 0)["1.weight"], weights(8, 1, 1)["1.weight"])
    assert torch.equal(weights(8, 1, 0)["1.weight"], weights(8, 3, 0)["1.weight"]), "a deeper network starts alike"


def test_finished_results_can_be_repeated():
    """Names and draws of the networks that results exist of: a change here makes those results unrepeatable."""
    mlp = started(MLP(width=8, depth=1), 0, (1, 4, 4))
    assert {name: item.flatten()[0].item() for name, item in mlp.items()} == {
        "1.weight": -0.15841183066368103, "1.bias": 0.08949235081672668,
        "3.weight": -0.11914682388305664, "3.bias": -0.29766929149627686,
    }  # fmt: skip
    resnet = started(ResNet18(width=2), 0, (1, 4, 4))
    drawn = {
        "0.0.weight": 0.14551524817943573, "1.2.shortcut.0.weight": -0.18826928734779358,
        "1.7.conv2.weight": 0.036316245794296265, "2.2.bias": 0.10325384140014648,
    }  # fmt: skip
    assert {name: resnet[name].flatten()[0].item() for name in drawn} == drawn


def test_fixup_starts_as_published():
    """Zhang et al., arXiv:1901.09321: He-normal by fan-out over the root of 9 blocks, last layers of branches 0."""
    parameters = started(ResNet20Fixup(width=64))
    for name, item in parameters.items():
        if name.endswith("conv1.weight"):
            assert item.std().item() == pytest.approx(math.sqrt(2 / (9 * item.shape[0])) / 3, rel=0.05)
            assert item.abs().max().item() > 3 * item.std().item(), "normal, not uniform"
        elif name.endswith((".scale",)):
            assert item.tolist() == [1.0]
        elif name == "conv.weight":
            assert item.abs().max().item() == pytest.approx(1 / math.sqrt(27), rel=0.05)
        else:
            assert not item.any(), name
    assert len(parameters) == 1 + 2 + 2 + 9 * 7


def test_a_fixup_network_starts_with_equal_logits_and_its_branches_closed():
    model = ResNet20Fixup(width=4).build((3, 8, 8), 10)
    initialize(model, 0)
    assert not model(torch.ones(2, 3, 8, 8)).any()


def test_the_two_densenets_start_as_published():
    """Convolutions He-normal by fan-out and the last bias 0, against PyTorch's default."""
    normal, default = (started(DenseNet40(growth=12, variant=variant)) for variant in ("andreasveit", "kuangliu"))
    for name, item in normal.items():
        if item.dim() == 4:
            fan_out, fan_in = item[:, 0].numel(), item[0].numel()
            assert item.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1), name
            assert default[name].abs().max().item() == pytest.approx(1 / math.sqrt(fan_in), rel=0.05), name
    assert not normal["linear.bias"].any()
    assert default["linear.bias"].any()


def test_batch_norm_of_every_kind_and_scalars_start_neutral():
    layers = nn.Sequential(
        nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False), shift_only_batch_norm(2), Bias(), Scale()
    )
    for item in layers.state_dict().values():
        item.fill_(7)
    initialize(layers, 0)
    assert {name: item.tolist() for name, item in layers.named_parameters()} == {
        "0.weight": [1, 1], "0.bias": [0, 0], "1.weight": [1, 1], "1.bias": [0, 0], "3.bias": [0, 0],
        "4.bias": [0], "5.scale": [1],
    }  # fmt: skip
    assert {name: item.tolist() for name, item in layers.named_buffers()} == {
        f"{layer}.{name}": value
        for layer in range(4)
        for name, value in (("running_mean", [0, 0]), ("running_var", [1, 1]), ("num_batches_tracked", 0))
    }


def test_what_has_no_parameters_needs_no_law():
    assert not [name for name in started(AllConvolutional(width=2)) if name.startswith(("1.", "4.", "7.", "10."))]


def test_unknown_module_is_refused():
    with pytest.raises(TypeError, match="LayerNorm"):
        initialize(nn.Sequential(nn.LayerNorm(3)), 0)


class Stated(nn.Module):
    """States laws for its layer."""

    def __init__(self, laws: Mapping[str, Law]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.stated = laws

    def laws(self) -> Mapping[str, Law]:
        return self.stated


def test_a_stated_law_is_drawn_and_a_misnamed_one_refused():
    model = nn.Sequential(Stated({"layer.bias": Constant(5.0)}))
    initialize(model, 0)
    parameters = dict(model.named_parameters())
    assert parameters["0.layer.bias"].tolist() == [5, 5]
    assert parameters["0.layer.weight"].abs().max().item() <= 1 / math.sqrt(2)
    with pytest.raises(LookupError, match=r"0\.layer\.gamma"):
        initialize(nn.Sequential(Stated({"layer.gamma": Constant(5.0)})), 0)
