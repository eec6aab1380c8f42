"""The networks again, as formulas over a state dict: the slow twins that `test_models_outputs` compares with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


class Formula:
    """Layers by their name in the state dict; running statistics are copied, so that the module keeps its own."""

    def __init__(self, state: Mapping[str, Tensor], training: bool) -> None:
        self.state = {name: tensor.detach().clone() for name, tensor in state.items()}
        self.training = training

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        return F.conv2d(
            x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), stride, padding, groups=groups
        )  # fmt: skip

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, momentum: float = 0.1) -> Tensor:
        """Batch norm written out: biased variance to divide by, unbiased into the running statistics."""
        axes = (0, 2, 3) if x.dim() == 4 else (0,)
        shape = (1, -1, 1, 1) if x.dim() == 4 else (1, -1)
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.training:
            batch = x.mean(axes), x.var(axes, correction=0)
            count = x.numel() // x.shape[1]
            self.state[f"{name}.running_mean"] = (1 - momentum) * mean + momentum * batch[0]
            self.state[f"{name}.running_var"] = (1 - momentum) * variance + momentum * batch[1] * count / (count - 1)
            self.state[f"{name}.num_batches_tracked"] += 1
            mean, variance = batch
        y = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        gamma, beta = self.state.get(f"{name}.weight"), self.state.get(f"{name}.bias")
        y = y if gamma is None else y * gamma.view(shape)
        return y if beta is None else y + beta.view(shape)


def mlp(net: Formula, x: Tensor) -> Tensor:
    """Two hidden layers with batch norm."""
    x = x.flatten(1)
    for linear, norm in ((1, 2), (4, 5)):
        x = F.relu(net.norm(f"{norm}", net.linear(f"{linear}", x)))
    return net.linear("7", x)


def conv4(net: Formula, x: Tensor) -> Tensor:
    for layer in (0, 2, 4, 6):
        x = F.relu(net.conv(f"{layer}", x, stride=2, padding=1))
    return net.linear("9", x.flatten(1))


def conv4_with_batch_norm(net: Formula, x: Tensor) -> Tensor:
    for layer in (0, 3, 6, 9):
        x = F.relu(net.norm(f"{layer + 1}", net.conv(f"{layer}", x, stride=2, padding=1)))
    return net.linear("13", x.flatten(1))


def all_convolutional(net: Formula, x: Tensor, activation: Callable[[Tensor], Tensor] = F.relu) -> Tensor:
    for layer in (0, 3, 6):
        x = activation(net.norm(f"{layer + 1}", net.conv(f"{layer}", x, stride=2, padding=1)))
    x = activation(net.norm("10", net.conv("9", x)))
    assert x.shape[2:] == (1, 1)
    return net.linear("13", x[:, :, 0, 0])


def polynomial_network(net: Formula, x: Tensor) -> Tensor:
    """`all_convolutional` with the parabola nearest to ReLU on [-1, 1], 3/32 + x/2 + 15/32 x^2."""
    return all_convolutional(net, x, lambda y: 3 / 32 + y / 2 + 15 / 32 * y.square())


def ntk_convnet(net: Formula, x: Tensor) -> Tensor:
    for layer in (0, 2, 4):
        x = F.relu(net.conv(f"{layer}", x, padding=1))
    x = F.max_pool2d(F.relu(net.conv("6", x, padding=1)), 3)
    x = F.max_pool2d(F.relu(net.conv("9", x, padding=1)), 3)
    return net.linear("13", x.flatten(1))


def small_alexnet(net: Formula, x: Tensor) -> Tensor:
    for layer in (0, 3):
        x = F.relu(net.conv(f"{layer}", x, padding=2))
        x = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))  # zeros never win over a ReLU
    x = F.relu(net.linear("7", x.flatten(1)))
    return net.linear("11", F.relu(net.linear("9", x)))


def vgg16(net: Formula, x: Tensor) -> Tensor:
    layer = 0
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            x = F.relu(net.norm(f"{layer + 1}", net.conv(f"{layer}", x, padding=1)))
            layer += 3
        x = F.max_pool2d(x, 2)
        layer += 1
    return net.linear("45", x.flatten(1))


def vgg_generalization_paper(net: Formula, x: Tensor) -> Tensor:
    for stack in range(4):
        for layer in (8 * stack, 8 * stack + 3):
            x = F.relu(net.norm(f"{layer + 1}", net.conv(f"{layer}", x, padding=1)))
        x = F.max_pool2d(x, 2) if stack < 3 else F.avg_pool2d(x, 4)
    return net.linear("35", F.relu(net.linear("33", x.flatten(1))))


def vgg_generalization_code(net: Formula, x: Tensor) -> Tensor:
    for stack in range(4):
        for layer in (6 * stack, 6 * stack + 2):
            x = F.relu(net.conv(f"{layer}", x, padding=1))
        x = F.max_pool2d(x, 2 if stack < 3 else 4)
    return net.linear("29", F.relu(net.norm("26", net.linear("25", x.flatten(1)))))


def resnet18(net: Formula, x: Tensor) -> Tensor:
    x = F.relu(net.norm("0.1", net.conv("0.0", x, padding=1)))
    for block, stride in enumerate((1, 1, 2, 1, 2, 1, 2, 1)):
        name = f"1.{block}"
        y = F.relu(net.norm(f"{name}.bn1", net.conv(f"{name}.conv1", x, stride, 1)))
        y = net.norm(f"{name}.bn2", net.conv(f"{name}.conv2", y, padding=1))
        x = F.relu(y + _projected(net, name, x, stride, changed=stride == 2))
    return net.linear("2.2", x.mean((2, 3)))


def resnet50(net: Formula, x: Tensor) -> Tensor:
    x = F.relu(net.norm("0.1", net.conv("0.0", x, padding=1)))
    firsts = (0, 3, 7, 13)
    for block in range(16):
        name, stride = f"1.{block}", 2 if block in firsts[1:] else 1
        y = F.relu(net.norm(f"{name}.bn1", net.conv(f"{name}.conv1", x)))
        y = F.relu(net.norm(f"{name}.bn2", net.conv(f"{name}.conv2", y, stride, 1)))
        y = net.norm(f"{name}.bn3", net.conv(f"{name}.conv3", y))
        x = F.relu(y + _projected(net, name, x, stride, changed=block in firsts))
    return net.linear("2.2", x.mean((2, 3)))


def _projected(net: Formula, name: str, x: Tensor, stride: int, changed: bool) -> Tensor:
    return net.norm(f"{name}.shortcut.1", net.conv(f"{name}.shortcut.0", x, stride)) if changed else x


def resnet20_fixup(net: Formula, x: Tensor) -> Tensor:
    number = net.state
    x = F.relu(net.conv("conv", x, padding=1) + number["bias1.bias"])
    for block in range(9):
        name, stride = f"blocks.{block}", 2 if block in (3, 6) else 1
        bias1a, bias1b, bias2a, bias2b = (number[f"{name}.bias{which}.bias"] for which in ("1a", "1b", "2a", "2b"))
        y = F.relu(net.conv(f"{name}.conv1", x + bias1a, stride, 1) + bias1b)
        y = net.conv(f"{name}.conv2", y + bias2a, padding=1) * number[f"{name}.scale.scale"] + bias2b
        if stride == 2:
            x = (x + bias1a)[:, :, ::2, ::2]
            x = F.pad(x, (0, 0, 0, 0, 0, x.shape[1]))
        x = F.relu(x + y)
    return net.linear("linear", x.mean((2, 3)) + number["bias2.bias"])


def wide_resnet_original(net: Formula, x: Tensor) -> Tensor:
    """WRN-16-2: every first block of a stage changes the shape."""
    x = net.conv("0", x, padding=1)
    for block in range(6):
        name, stride = f"1.{block}", 2 if block in (2, 4) else 1
        activated = F.relu(net.norm(f"{name}.bn1", x))
        y = net.conv(f"{name}.conv1", activated, stride, 1)
        y = net.conv(f"{name}.conv2", F.relu(net.norm(f"{name}.bn2", y)), padding=1)
        x = y + (net.conv(f"{name}.shortcut", activated, stride) if block in (0, 2, 4) else x)
    return net.linear("2.4", F.relu(net.norm("2.0", x)).mean((2, 3)))


def wide_resnet_biased(net: Formula, x: Tensor) -> Tensor:
    """WRN-16-1: the first stage keeps its 16 channels."""
    x = net.conv("0", x, padding=1)
    for block in range(6):
        name, stride = f"1.{block}", 2 if block in (2, 4) else 1
        y = net.conv(f"{name}.conv1", F.relu(net.norm(f"{name}.bn1", x)), padding=1)
        y = net.conv(f"{name}.conv2", F.relu(net.norm(f"{name}.bn2", y)), stride, 1)
        x = y + (net.conv(f"{name}.shortcut", x, stride) if stride == 2 else x)
    return net.linear("2.4", F.relu(net.norm("2.0", x, momentum=0.9)).mean((2, 3)))


def densenet40_andreasveit(net: Formula, x: Tensor) -> Tensor:
    return net.linear("linear", _densenet_features(net, x).mean((2, 3)))


def densenet40_kuangliu(net: Formula, x: Tensor) -> Tensor:
    return net.linear("linear", F.avg_pool2d(_densenet_features(net, x), 4).flatten(1))


def _densenet_features(net: Formula, x: Tensor) -> Tensor:
    x = net.conv("features.0", x, padding=1)
    for first in (1, 11, 21):
        for layer in range(first, first + 6):
            name = f"features.{layer}"
            y = net.conv(f"{name}.conv1", F.relu(net.norm(f"{name}.bn1", x)))
            y = net.conv(f"{name}.conv2", F.relu(net.norm(f"{name}.bn2", y)), padding=1)
            x = torch.cat((x, y), 1)
        if first < 21:
            x = F.relu(net.norm(f"features.{first + 6}", x))
            x = F.avg_pool2d(net.conv(f"features.{first + 8}", x), 2)
    return F.relu(net.norm("features.27", x))


def mobilenet_v2(net: Formula, x: Tensor) -> Tensor:
    x = F.relu(net.norm("0.1", net.conv("0.0", x, padding=1)))
    block = 0
    for count, stride in ((1, 1), (2, 1), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)):
        for index in range(count):
            name, step = f"1.{block}", stride if index == 0 else 1
            y = F.relu(net.norm(f"{name}.bn1", net.conv(f"{name}.conv1", x)))
            y = F.relu(net.norm(f"{name}.bn2", net.conv(f"{name}.conv2", y, step, 1, groups=y.shape[1])))
            y = net.norm(f"{name}.bn3", net.conv(f"{name}.conv3", y))
            x = y if step == 2 else y + _projected(net, name, x, 1, changed=x.shape[1] != y.shape[1])
            block += 1
    x = F.relu(net.norm("2.1", net.conv("2.0", x)))
    return net.linear("3.2", x.mean((2, 3)))


def small_inception(net: Formula, x: Tensor) -> Tensor:
    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        padding = net.state[f"{name}.0.weight"].shape[-1] // 2
        return F.relu(net.norm(f"{name}.1", net.conv(f"{name}.0", x, stride, padding)))

    x = layer("0", x)
    for module in range(1, 11):
        name = f"{module}.branches"
        if module in (3, 8):
            x = torch.cat((layer(f"{name}.0", x, stride=2), F.max_pool2d(x, 3, 2, padding=1)), 1)
        else:
            x = torch.cat((layer(f"{name}.0", x), layer(f"{name}.1", x)), 1)
    return net.linear("13", x.mean((2, 3)))
