"""Starts from another stage's node: its weights as they are, or a linear model inside a deeper network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workloads.contract import Config, Context
from workloads.models.plain import MLP
from workloads.starts.base import TrainingStart

if TYPE_CHECKING:
    from torch import Tensor, nn

    from workloads.datasets.images import Data


class FromStage(TrainingStart):
    """The final weights and buffers of another stage (`STAGE.start`: its initial ones)."""

    GIVES_MODEL: ClassVar[bool] = True

    from_: str = Field(alias="from", description="A stage of the sweep.")

    def begin(self, build: Callable[[], nn.Module], data: Data, context: Context) -> Mapping[str, Tensor]:
        """Those weights and buffers."""
        return context.inputs["start"].weights()

    def accept(self, model: Config | None, theirs: Config) -> None:
        """The two models must be one.

        Raises:
            ValueError: they are not.
        """
        if model not in (None, theirs):
            ours, others = (_written(item) for item in (model, theirs) if item is not None)
            raise ValueError(f"model: {ours} is not the model of the stage it starts from, {others}")


def _written(model: Config) -> dict[str, object]:
    return {"name": getattr(model, "name", ""), **model.model_dump(exclude_defaults=True)}


class Lemma1(TrainingStart):
    """A linear model that another stage trained, as an MLP whose every activation is positive on all images.

    The model of that stage is `{name: mlp, depth: 0}`. The images are those that the training trains and tests on,
    without augmentation. Source: Goldblum et al., arXiv:1910.00359, lemma 1 and appendix A.1.
    """

    init: Literal["lemma1"] = "lemma1"
    from_: str = Field(alias="from", description="The stage that trains the linear model.")

    def begin(self, build: Callable[[], nn.Module], data: Data, context: Context) -> Mapping[str, Tensor]:
        """The linear model's embedding, computed in float64 and rounded to the network's own type."""
        import torch

        from workloads.starts.affine import embed

        model = build()
        linear = context.inputs["start"].weights()
        images = torch.cat([data.train_x, data.test_x])
        with torch.no_grad():
            embed(model, linear["1.weight"], linear["1.bias"], images, data.mean, data.std)
        return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def accept(self, model: Config | None, theirs: Config) -> None:
        """An MLP with hidden layers starts from one without.

        Raises:
            ValueError: they are other networks.
        """
        if not isinstance(theirs, MLP) or theirs.widths or (theirs.widths is None and theirs.depth):
            raise ValueError(
                f"start: lemma1 wants a linear model, {{name: mlp, depth: 0}}, and its stage trains {_written(theirs)}"
            )
        hidden = isinstance(model, MLP) and (model.widths or (model.widths is None and model.depth))
        if not isinstance(model, MLP) or not hidden or model.batch_norm or model.dropout:
            said = "none" if model is None else _written(model)
            raise ValueError(
                f"model: lemma1 is of an mlp with hidden layers, without batch_norm and dropout, not {said}"
            )
