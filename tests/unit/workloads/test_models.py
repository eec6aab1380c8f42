"""Models: exact parameter counts, norms at the start, options, and what is refused."""

from __future__ import annotations

import numpy
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from workloads.models import MLP, Model, ResNet18
from workloads.models.activations import PolynomialReLU
from workloads.models.base import Network, Shape
from workloads.models.branching import DenseNet40, SmallInception
from workloads.models.layers import Polynomial
from workloads.models.plain import VGG16, AllConvolutional, Conv4, NTKConvNet, SmallAlexNet, VGGGeneralization
from workloads.models.residual import MobileNetV2, ResNet20Fixup, ResNet50, WideResNet
from workloads.starts.default import initialize

CIFAR, CROPPED = (3, 32, 32), (3, 28, 28)
WRN = {"depth": 16, "variant": "biased"}
COUNTS: list[tuple[Network, Shape, int]] = [
    (ResNet18(), CIFAR, 11_173_962),
    (ResNet50(), CIFAR, 23_520_842),
    (VGG16(), CIFAR, 14_728_266),
    (DenseNet40(variant="andreasveit"), CIFAR, 176_122),
    (DenseNet40(variant="kuangliu"), CIFAR, 180_082),
    (MobileNetV2(), CIFAR, 2_296_922),
    (ResNet20Fixup(), CIFAR, 268_393),
    (MLP(width=2048, depth=3), CIFAR, 14_706_698),
    (MLP(widths=(2048, 2048, 1024)), CIFAR, 3073 * 2048 + 2049 * 2048 + 2049 * 1024 + 1025 * 10),
    (MLP(width=1000, depth=10), (1, 28, 28), 785 * 1000 + 9 * 1001 * 1000 + 1001 * 10),
    (MLP(width=512, depth=1), CROPPED, 1_209_866),
    (MLP(depth=0), (1, 2, 2), 5 * 10),
    (MLP(width=3, depth=2, batch_norm=True), (1, 2, 2), 5 * 3 + 4 * 3 + 4 * 10 + 2 * 2 * 3),
    (VGGGeneralization(variant="code"), CIFAR, 4_954_186),
    (VGGGeneralization(variant="paper"), CIFAR, 4_957_002),
    (Conv4(), CIFAR, 102_570),
    (Conv4(batch_norm=True), CIFAR, 102_570 + 2 * (16 + 32 + 64 + 128)),
    (AllConvolutional(), CIFAR, 9_370),
    (SmallAlexNet(), CROPPED, 1_387_786),
    (SmallInception(), CROPPED, 1_649_402),
    (NTKConvNet(width=1), CIFAR, 680),
    (NTKConvNet(width=10), CIFAR, 31_010),
    (NTKConvNet(width=300), CIFAR, 24_420_010),
    (WideResNet(width=1, **WRN), CIFAR, 175_626),
    (WideResNet(width=4, **WRN), CIFAR, 2_751_146),
    (WideResNet(width=16, **WRN), CIFAR, 43_787_498),
    (WideResNet(depth=40, width=4), CROPPED, 8_949_210),
    (WideResNet(depth=28, width=1), CIFAR, 369_498),
]
NORMS: list[tuple[Network, float, int]] = [
    (ResNet18(), 6402, 4800),
    (ResNet50(), 35_417, 26_560),
    (VGG16(), 5636, 4224),
    (DenseNet40(variant="andreasveit"), 7400, 2544),
    (DenseNet40(variant="kuangliu"), 2952, 2544),
    (MobileNetV2(), 23_386, 17_544),
    (ResNet20Fixup(), 78.4, 0),
    (MLP(width=2048, depth=3), 2052, 0),
    (MLP(widths=(2048, 2048, 1024)), 1710, 0),
]


def count(config: Network, shape: Shape, classes: int = 10) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in config.module(shape, classes).parameters())


def kinds(config: Network, shape: Shape) -> list[str]:
    return [type(module).__name__ for module in config.build(shape, 10).children()]


def label(value: object) -> str | None:
    return str(value.model_dump(exclude_defaults=True)) if isinstance(value, Network) else None


@pytest.mark.parametrize(("config", "shape", "expected"), COUNTS, ids=label)
def test_parameter_count(config: Network, shape: Shape, expected: int):
    assert count(config, shape) == expected


@pytest.mark.parametrize("width", [1, 8, 16, 38])
def test_the_all_convolutional_net_grows_by_its_formula(width: int):
    assert count(AllConvolutional(width=width), CIFAR) == 34 * width**2 + 41 * width + 10


@pytest.mark.parametrize(("config", "total", "gammas"), NORMS, ids=label)
def test_squared_norm_at_the_start(config: Network, total: float, gammas: int):
    model = config.build(CIFAR, 10)
    initialize(model, 0)
    norms = [item.weight.double().square().sum().item() for item in model.modules() if isinstance(item, nn.BatchNorm2d)]
    assert sum(item.double().square().sum().item() for item in model.parameters()) == pytest.approx(total, rel=0.01)
    assert sum(norms) == gammas


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 23), (2, 64, 32)])
def test_images_of_many_sizes_fit(shape: Shape):
    for config in (
        VGG16(width=1), VGGGeneralization(width=1), NTKConvNet(width=1), AllConvolutional(width=1), Conv4(width=1),
        SmallAlexNet(width=1), SmallInception(width=6), DenseNet40(growth=1, variant="kuangliu"), MobileNetV2(width=4),
    ):  # fmt: skip
        model = config.build(shape, 5)
        initialize(model, 0)
        assert model(torch.zeros(2, *shape)).shape == (2, 5)


def test_options_of_the_mlp():
    hidden = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    options = MLP(width=4, batch_norm=True, dropout=0.5)
    assert kinds(options, (1, 2, 2)) == ["Flatten", *hidden, *hidden, "Linear"]
    assert [item.p for item in options.build((1, 2, 2), 3).modules() if isinstance(item, nn.Dropout)] == [0.5, 0.5]
    assert kinds(MLP(width=4), (1, 2, 2)) == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert (
        MLP(widths=(4, 4)).build((1, 2, 2), 3).state_dict().keys()
        == MLP(width=4).build((1, 2, 2), 3).state_dict().keys()
    )


def test_options_of_the_convolutional_nets():
    layer = ["Conv2d", "BatchNorm2d", "Polynomial", "Dropout"]
    options = Conv4(width=1, batch_norm=True, dropout=0.1, activation=PolynomialReLU(degree=2))
    assert kinds(options, CIFAR) == [*layer * 4, "Flatten", "Linear"]
    plain = AllConvolutional(width=1, batch_norm=False, activation=PolynomialReLU(degree=2))
    assert kinds(plain, CIFAR) == [*["Conv2d", "Polynomial"] * 4, "Flatten", "Linear"]
    norms = [item for item in AllConvolutional().build(CIFAR, 10).modules() if isinstance(item, nn.BatchNorm2d)]
    assert len(norms) == 4
    assert not any(norm.affine for norm in norms)


@pytest.mark.parametrize(("variant", "number"), [("paper", 4), ("code", 5)])
def test_dropout_of_the_vgg(variant: str, number: int):
    config = VGGGeneralization.model_validate({"variant": variant, "width": 1, "dropout": 0.3})
    rates = [item.p for item in config.build(CIFAR, 10).modules() if isinstance(item, nn.Dropout)]
    assert rates == [0.3] * number


def test_the_polynomial_is_the_least_squares_fit_of_relu():
    x = numpy.linspace(-5, 5, 200_001)
    fitted = numpy.polyfit(x, numpy.maximum(x, 0), 10)
    coefficients = PolynomialReLU().coefficients()
    assert len(coefficients) == 11
    assert coefficients == pytest.approx(fitted[::-1], abs=1e-5)
    lopsided = PolynomialReLU(degree=3, interval=(-1.0, 3.0))
    x = numpy.linspace(-1, 3, 200_001)
    assert lopsided.coefficients() == pytest.approx(numpy.polyfit(x, numpy.maximum(x, 0), 3)[::-1], abs=1e-4)


def test_the_polynomial_layer_is_the_polynomial():
    coefficients = (3.0, -1.0, 0.5, 2.0)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expected = 3 - x + 0.5 * x**2 + 2 * x**3
    torch.testing.assert_close(Polynomial(coefficients)(x), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "mlp", "width": 3, "widths": [3, 4]}, "not both"),
        ({"name": "mlp", "widths": [3, 0]}, "greater than 0"),
        ({"name": "wide_resnet", "depth": 18}, "6n \\+ 4"),
        ({"name": "mobilenet_v2", "width": 6}, "multiple of 4"),
        ({"name": "small_inception", "width": 16}, "multiple of 6"),
        ({"name": "conv4", "dropout": 1.0}, "less than 1"),
        ({"name": "conv4", "activation": {"name": "polynomial", "interval": [1.0, 2.0]}}, "must have 0 inside"),
        ({"name": "densenet40", "variant": "other"}, "'andreasveit' or 'kuangliu'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(config: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Model).validate_python(config, strict=False)


def test_a_known_output():
    model = MLP(width=2, depth=1).build((1, 1, 2), 2)
    with torch.no_grad():
        for parameter, value in zip(
            model.parameters(), ([[1, -1], [2, 0]], [0, -1], [[1, 1], [1, -1]], [0, 5]), strict=True
        ):
            parameter.copy_(torch.tensor(value))
    # hidden = relu([3 - 1, 2 * 3 - 1]) = [2, 5]; output = [7, -3 + 5]
    assert model(torch.tensor([[[[3.0, 1.0]]]])).tolist() == [[7.0, 2.0]]
