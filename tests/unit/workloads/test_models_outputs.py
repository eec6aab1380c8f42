"""One known output of every network: of parameters set by a rule, against a formula written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from tests.unit.workloads import functional_networks as formulas
from tests.unit.workloads.functional_networks import Formula
from workloads.models import Model
from workloads.models.activations import PolynomialReLU
from workloads.models.base import Network
from workloads.models.branching import DenseNet40, SmallInception
from workloads.models.plain import MLP, VGG16, AllConvolutional, Conv4, NTKConvNet, SmallAlexNet, VGGGeneralization
from workloads.models.residual import MobileNetV2, ResNet18, ResNet20Fixup, ResNet50, WideResNet


@dataclass(frozen=True)
class Case:
    """A network, its formula, the side of its images, and the first logit in eval and in train mode."""

    config: Network
    formula: Callable[[Formula, Tensor], Tensor]
    side: int
    eval: float
    train: float


PARABOLA = PolynomialReLU(degree=2, interval=(-1.0, 1.0))
CASES = [
    Case(MLP(width=5, batch_norm=True), formulas.mlp, 3, 3.67090463, 0.7410160623),
    Case(Conv4(width=2), formulas.conv4, 12, 0.2657468224, 0.2657468224),
    Case(AllConvolutional(width=3), formulas.all_convolutional, 32, 0.3464087385, 0.4648559262),
    Case(Conv4(width=2, batch_norm=True), formulas.conv4_with_batch_norm, 12, 0.4587225737, 0.41000684),
    Case(AllConvolutional(width=3, activation=PARABOLA), formulas.polynomial_network, 32, 0.307478768, 0.4415925941),
    Case(NTKConvNet(width=2), formulas.ntk_convnet, 20, -0.2479482138, -0.2479482138),
    Case(SmallAlexNet(width=2), formulas.small_alexnet, 12, 0.8326255856, 0.8326255856),
    Case(SmallInception(width=6), formulas.small_inception, 12, 0.1147365995, 0.4334952997),
    Case(VGG16(width=1), formulas.vgg16, 32, 0.2481635075, -0.290862106),
    Case(VGGGeneralization(width=2, dropout=0), formulas.vgg_generalization_paper, 32, 0.4380460321, 0.29223943),
    Case(
        VGGGeneralization(width=2, dropout=0, variant="code"),
        formulas.vgg_generalization_code,
        32,
        0.3698729073,
        -0.2700757644,
    ),
    Case(ResNet18(width=2), formulas.resnet18, 16, -0.0006626078506, 0.02351698759),
    Case(ResNet50(width=2), formulas.resnet50, 16, -1.762289301, -2.589217573),
    Case(ResNet20Fixup(width=2), formulas.resnet20_fixup, 12, -0.08807163767, -0.08807163767),
    Case(WideResNet(width=2), formulas.wide_resnet_original, 12, 0.8742672642, -0.1352998578),
    Case(WideResNet(width=1, variant="biased"), formulas.wide_resnet_biased, 12, 1.008380308, 0.0945780009),
    Case(DenseNet40(growth=2), formulas.densenet40_andreasveit, 16, 0.3369406745, -0.1920515343),
    Case(DenseNet40(growth=2, variant="kuangliu"), formulas.densenet40_kuangliu, 32, 0.1019319004, 0.0482550443),
    Case(MobileNetV2(width=4), formulas.mobilenet_v2, 16, 1.439959502, -0.4399303432),
]
NAMES = [f"{case.config.model_dump()['name']}-{index}" for index, case in enumerate(CASES)]


def waves(tensor: Tensor, phase: int) -> Tensor:
    """Sines of the flat index, the same on every machine."""
    return torch.sin(1.7 * torch.arange(tensor.numel(), dtype=torch.float64) + phase).view(tensor.shape)


@torch.no_grad()
def ruled(case: Case) -> nn.Module:
    """The network with every parameter and running statistic set by a rule, in float64."""
    model = case.config.build((2, case.side, case.side), 3).double()
    for phase, (name, item) in enumerate(model.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            item.zero_()
        elif item.dim() > 1:
            item.copy_(1.5 / sqrt(item[0].numel()) * waves(item, phase))
        elif name.endswith((".weight", ".scale", ".running_var")):
            item.copy_(1 + 0.3 * waves(item, phase))
        else:
            item.copy_(0.2 * waves(item, phase))
    return model


def images(case: Case) -> Tensor:
    return (
        waves(torch.empty(4, 2, case.side, case.side), 0) + waves(torch.empty(4, 2, case.side, case.side), 1).square()
    )


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_known_output(case: Case, training: bool):
    model, x = ruled(case).train(training), images(case)
    formula = Formula(model.state_dict(), training)
    output, expected = model(x), case.formula(formula, x)
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
    assert output[0, 0].item() == pytest.approx(case.train if training else case.eval, rel=1e-8)
    for name, item in model.state_dict().items():
        torch.testing.assert_close(item, formula.state[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_every_parameter_matters(case: Case):
    model = ruled(case).eval()
    gradients = torch.autograd.grad((model(images(case)) * torch.tensor([1.0, 2.0, 4.0])).sum(), [*model.parameters()])
    assert not [name for (name, _), item in zip(model.named_parameters(), gradients, strict=True) if not item.any()]


def test_every_network_has_a_known_output():
    networks = get_args(get_args(Model)[0])
    assert {type(case.config) for case in CASES} == set(networks)
