"""Networks, each a config that builds its module without drawing anything; `starts` initializes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workloads.models.branching import DenseNet40, SmallInception
from workloads.models.plain import MLP, VGG16, AllConvolutional, Conv4, NTKConvNet, SmallAlexNet, VGGGeneralization
from workloads.models.residual import MobileNetV2, ResNet18, ResNet20Fixup, ResNet50, WideResNet

Model = Annotated[
    MLP
    | Conv4
    | AllConvolutional
    | NTKConvNet
    | SmallAlexNet
    | SmallInception
    | VGG16
    | VGGGeneralization
    | ResNet18
    | ResNet50
    | ResNet20Fixup
    | WideResNet
    | DenseNet40
    | MobileNetV2,
    Field(discriminator="name"),
]
