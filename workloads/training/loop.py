"""One network trained by itself: the plain loop, every draw from a named stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.contract import Context, Result
from workloads.datasets.augmentation import crop_flip, draw_crop_flip
from workloads.datasets.images import Data
from workloads.starts import Initialization
from workloads.training.evaluation import Scores, logits, normalized, scores

if TYPE_CHECKING:
    from workloads.train import TrainConfig


@dataclass(frozen=True)
class Images:
    """What is trained on, on the device: uint8 (N, C, H, W), int64 (N,), and as float32 where nothing is augmented."""

    raw: Tensor
    labels: Tensor
    ready: Tensor
    data: Data


def run(config: TrainConfig, context: Context) -> Result:
    """initialize -> train -> result."""
    torch.set_num_threads(config.threads)
    images = load(config, context)
    model = initialize(config, images.data, context)
    before = snapshot(model)
    model.to(context.device)
    epochs, diverged = train(config, model, images, context)
    end = evaluate(model, images)
    return Result(
        metrics={"epochs": epochs, "train_loss": end.loss, "train_accuracy": end.accuracy},
        outcome="diverged" if diverged or not math.isfinite(end.loss) else "done",
        weights=snapshot(model),
        start=before if isinstance(config.start, Initialization) else "start",
    )


def load(config: TrainConfig, context: Context) -> Images:
    """The training part, corrupted as the config says, on the device."""
    data = config.data.load(context.data_dir, context.seed)
    raw = data.train_x.to(context.device)
    return Images(raw, data.train_y.to(context.device), normalized(raw, data.mean, data.std), data)


def initialize(config: TrainConfig, data: Data, context: Context) -> nn.Module:
    """The network with its initial weights, on the CPU, so that they do not depend on the device."""
    assert config.model is not None  # resolve() has seen to it
    model = config.model.build(data.shape, data.classes)
    if isinstance(config.start, Initialization):
        config.start.apply(model, context.seed)
    else:
        model.load_state_dict(context.inputs["start"].weights())
    return model


def train(config: TrainConfig, model: nn.Module, images: Images, context: Context) -> tuple[int, bool]:
    """Train until a stop rule holds; returns the number of epochs, and whether the loss ceased to be finite."""
    optimizer = config.optimizer.build(model.parameters())
    model.train()
    for epoch in range(config.stop.epochs):
        rate = config.optimizer.lr * config.schedule.factor(epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = train_epoch(config, model, optimizer, images, epoch, context)
        row = {"train_loss": loss, "learning_rate": rate}
        stop = not math.isfinite(loss)
        if not stop and looks(config, epoch):
            now = evaluate(model, images)
            row.update(eval_loss=now.loss, train_accuracy=now.accuracy)
            stop = reached(config, now)
        context.log(epoch + 1, **row)
        if stop:
            return epoch + 1, not math.isfinite(loss)
    return config.stop.epochs, False


def train_epoch(
    config: TrainConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Images,
    epoch: int,
    context: Context,
) -> float:
    """One pass over the training part in the order of the stream ("order", epoch); returns its mean loss."""
    count = len(images.labels)
    order = torch.randperm(count, generator=context.generator("order", epoch)).to(images.raw.device)
    draws = None
    if config.data.augment == "crop_flip":
        draws = draw_crop_flip(count, context.generator("augment", epoch)).to(images.raw.device)
    total = torch.zeros((), dtype=torch.float64, device=images.raw.device)
    for batch in order.split(config.batch_size):
        if draws is None:
            x = images.ready[batch]
        else:
            x = normalized(crop_flip(images.raw[batch], draws[batch]), images.data.mean, images.data.std)
        loss = F.cross_entropy(model(x), images.labels[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach().double() * len(batch)
    return total.item() / count  # the only wait for the device in an epoch


def looks(config: TrainConfig, epoch: int) -> bool:
    """Whether a stop rule is looked at after this epoch."""
    rules = config.stop.train_accuracy is not None or config.stop.loss is not None
    return rules and (epoch + 1) % config.stop.every == 0


def reached(config: TrainConfig, now: Scores) -> bool:
    """Whether a stop rule holds."""
    accurate = config.stop.train_accuracy is not None and now.accuracy >= config.stop.train_accuracy
    return accurate or (config.stop.loss is not None and now.loss < config.stop.loss)


def evaluate(model: nn.Module, images: Images) -> Scores:
    """Eval mode, on all that is trained on, as it was corrupted but not augmented."""
    return scores(logits(model, images.ready), images.labels)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters and buffers, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
