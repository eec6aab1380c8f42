"""RankMin and RankMax: against the explicit matrix of the convolution, and in real trainings, alone and in arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.contract.here import Here
from workloads import train
from workloads.contract import Hardware, Job, Result
from workloads.datasets import Digits
from workloads.events import RankMax, RankMin, Record
from workloads.measures import MeasureEntry
from workloads.models import MLP, MobileNetV2, ResNet18
from workloads.optimizers import SGD
from workloads.spectra.truncation import rescaled, without_large, without_small
from workloads.train import Stop, TrainConfig


def random_kernel(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def operator(kernel: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """The matrix of the circular convolution, entry by entry: y[o, p] = sum over i, k of w[o, i, k] x[i, s p + k]."""
    outputs, inputs, height, width = kernel.shape
    rows, columns = size[0] // stride, size[1] // stride
    matrix = torch.zeros(outputs, rows, columns, inputs, *size, dtype=torch.float64)
    for row in range(rows):
        for column in range(columns):
            for down in range(height):
                for right in range(width):
                    place = (stride * row + down) % size[0], (stride * column + right) % size[1]
                    matrix[:, row, column, :, place[0], place[1]] += kernel[:, :, down, right]
    return matrix.flatten(3).flatten(0, 2)


FACTORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "rank_min": lambda sigma, threshold: (sigma >= threshold).double(),
    "rank_max": lambda sigma, threshold: threshold / sigma.clamp(min=threshold),
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("shape", "size"), [((4, 3, 3, 3), (8, 8)), ((3, 4, 3, 3), (6, 8)), ((2, 9, 5, 5), (6, 6))])
def test_the_rescaled_kernel_is_the_explicit_operator_with_other_singular_values(
    name: str, stride: int, shape: tuple[int, int, int, int], size: tuple[int, int]
):
    kernel = random_kernel(*shape)
    left, sigma, right = torch.linalg.svd(operator(kernel, size, stride), full_matrices=False)
    middle = len(sigma) // 2
    threshold = (sigma[middle - 1 : middle + 2].unique().mean()).item()  # between two values: about half are cut
    expected = (left * (sigma * FACTORS[name](sigma, threshold))) @ right
    found = rescaled(kernel, size, stride, lambda values: FACTORS[name](values, threshold))
    assert found.shape == (*shape[:2], *size)
    assert (operator(found, size, stride) - expected).abs().max().item() < 1e-11


@pytest.mark.parametrize("stride", [1, 2])
def test_a_diagonal_one_by_one_kernel_has_its_entries_as_singular_values(stride: int):
    """Whatever the stride, which only drops places; and nothing lies outside of the kernel afterwards."""
    values = torch.tensor([0.2, 0.6, 2.0], dtype=torch.float64)
    kernel = torch.diag(values)[:, :, None, None]
    low, high = without_small(kernel, (4, 4), stride, 0.5), without_large(kernel, (4, 4), stride, 1.5)
    for found, expected in ((low, [0.0, 0.6, 2.0]), (high, [0.2, 0.6, 1.5])):
        assert torch.allclose(found[..., 0, 0], torch.diag(torch.tensor(expected, dtype=torch.float64)), atol=1e-12)
    whole = rescaled(kernel, (4, 4), stride, lambda sigma: 1.5 / sigma.clamp(min=1.5))
    assert torch.allclose(whole[..., 0, 0], torch.diag(values.clamp(max=1.5)), rtol=0, atol=1e-12)
    whole[..., 0, 0] = 0
    assert whole.abs().max().item() < 1e-12


@pytest.mark.parametrize(("size", "stride"), [((8, 8), 1), ((8, 8), 2), ((7, 5), 2), ((2, 2), 2), ((1, 1), 1)])
def test_thresholds_beyond_the_spectrum_change_nothing(size: tuple[int, int], stride: int):
    """On maps smaller than the kernel, or not divided by the stride, too."""
    kernel = random_kernel(4, 5, 3, 3)
    assert torch.allclose(without_small(kernel, size, stride, 1e-9), kernel, rtol=0, atol=1e-12)
    assert torch.allclose(without_large(kernel, size, stride, 1e3), kernel, rtol=0, atol=1e-12)
    assert not without_small(kernel, size, stride, 1e3).any()
    assert without_large(kernel, size, stride, 1e-3).abs().max().item() < 1e-3


def test_they_pull_the_spectrum_towards_their_threshold():
    """Dropping what lies outside of the kernel makes it inexact; it moves the right way all the same."""
    kernel = random_kernel(6, 6, 3, 3) / 4
    before = torch.linalg.svdvals(operator(kernel, (8, 8), 1))
    low = torch.linalg.svdvals(operator(without_small(kernel, (8, 8), 1, 1.0), (8, 8), 1))
    high = torch.linalg.svdvals(operator(without_large(kernel, (8, 8), 1, 1.5), (8, 8), 1))

    def effective_rank(sigma: Tensor) -> float:
        return (sigma.sum() / sigma.norm()).item()

    assert before.max().item() > 2.5 > high.max().item()
    assert effective_rank(low) < effective_rank(before) < effective_rank(high)


# --- in a training --------------------------------------------------------------------------------------------------


RESNET = ResNet18(width=4)


def config(*events: Any, model: Any = RESNET, lr: float = 1e-30, **options: Any) -> TrainConfig:
    return TrainConfig(
        data=Digits(subset=40), model=model, optimizer=SGD(lr=lr), batch_size=20, stop=Stop(epochs=2),
        precision="fp64", events=tuple(events), **options,
    )  # fmt: skip


def changed(made: TrainConfig) -> dict[str, tuple[Tensor, Tensor]]:
    """What of the parameters is not as it was: before and after."""
    result = train.run(made, Here())
    assert isinstance(result.start, dict)
    assert result.weights is not None
    pairs = {name: (item.double(), result.weights[name]) for name, item in result.start.items() if item.dim() > 0}
    return {
        name: pair for name, pair in pairs.items() if "running" not in name and not torch.allclose(*pair, atol=1e-12)
    }


INNER = {f"1.{block}.conv{conv}.weight" for block in range(8) for conv in (1, 2)}


def test_it_changes_the_convolutions_that_the_published_code_changes():
    assert changed(config(RankMin(threshold=0.9, at=(1,)))).keys() == INNER, "neither the stem nor shortcuts"
    everything = changed(config(RankMin(threshold=0.9, at=(1,), layers="all"))).keys()
    assert everything == INNER | {"0.0.weight"} | {f"1.{block}.shortcut.0.weight" for block in (2, 4, 6)}
    assert not changed(config(RankMin(threshold=0.9, at=(3,)))), "after the last epoch"


@pytest.mark.parametrize("grid", ["input", "published"])
def test_each_layer_has_its_own_size_and_stride(grid: Any):
    found = changed(config(RankMax(threshold=0.3, at=(2,), grid=grid)))
    places: dict[str, tuple[int, int]] = {
        "1.0.conv2.weight": (8, 1), "1.2.conv1.weight": (8, 2), "1.2.conv2.weight": (4, 1), "1.4.conv1.weight": (4, 2),
    }  # fmt: skip
    for name, (side, stride) in places.items():
        before, after = found[name]
        side, stride = (side, stride) if grid == "input" else (-(-7 * (side // stride) // 4), 1)  # of the output
        assert torch.allclose(after, without_large(before, (side, side), stride, 0.3), rtol=0, atol=1e-12), name


def test_networks_without_inner_convolutions_and_depthwise_ones_are_left_alone():
    assert not changed(config(RankMin(threshold=9.0, at=(1,)), model=MLP(width=8)))
    touched = changed(config(RankMin(threshold=9.0, at=(1,), layers="all"), model=MobileNetV2(width=4)))
    assert touched
    depthwise = {
        name
        for name, item in MobileNetV2(width=4).build((1, 8, 8), 10).named_modules()
        if getattr(item, "groups", 1) > 1
    }
    assert depthwise
    assert not {f"{name}.weight" for name in depthwise} & touched.keys()


def test_in_an_array_each_network_is_changed_as_by_itself():
    made = config(RankMin(threshold=0.4, every=1), RankMax(threshold=0.8, at=(2,)), lr=0.05)
    jobs = [Job(made, Here(seed=seed)) for seed in range(3)]
    ended = {id(item.job): item for item in train.run_array(jobs, Hardware(slots=3))}
    for seed, job in enumerate(jobs):
        together, alone = ended[id(job)].result, train.run(made, Here(seed=seed))
        assert isinstance(together, Result)
        assert ended[id(job)].array == 3
        assert together.weights is not None
        assert alone.weights is not None
        for name, item in alone.weights.items():
            assert torch.allclose(together.weights[name], item, rtol=1e-7, atol=1e-9), name


def test_a_training_taken_up_between_two_projections_ends_the_same():
    made = config(RankMax(threshold=0.5, at=(1, 2)), lr=0.05)
    whole, context = train.run(made, Here()), Here()
    train.run(made.model_copy(update={"stop": Stop(epochs=2)}), context)
    assert context.kept is not None
    resumed = train.run(made, context)
    assert whole.weights is not None
    assert resumed.weights is not None
    assert all(torch.equal(item, resumed.weights[name]) for name, item in whole.weights.items())


@pytest.mark.parametrize("event", [RankMin(every=1), RankMax(every=1)])
def test_a_training_that_diverges_in_the_step_before_has_diverged_and_not_failed(event: Any):
    """Its loss was finite still, its weights are not: they have no singular values."""
    made = config(event, Record(measures=(MeasureEntry(name="mean_effective_rank"),)))
    step = SGD(lr=1e38, weight_decay=1e30)  # one an epoch, beyond what float32 holds
    made = made.model_copy(update={"precision": "fp32", "batch_size": 40, "optimizer": step})
    context = Here()
    result = train.run(made, context)
    assert result.outcome == "diverged"
    assert result.metrics["epochs"] == 2
    assert math.isnan(context.rows[0]["mean_effective_rank"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RankMin(), "every or at"),
        (lambda: RankMax(every=1, at=(2,)), "every or at"),
        (lambda: RankMin(at=(6, 2)), "at names epochs that ascend"),
        (lambda: RankMax(every=1, threshold=0.0), "greater than 0"),
    ],
)
def test_impossible_ones_are_refused(make: Any, message: str):
    with pytest.raises(ValidationError, match=message):
        make()


def test_the_paper_s_schedule_is_due_after_the_epochs_it_says():
    assert [epoch for epoch in range(1, 21) if RankMin(at=(1, 5, 10)).due(epoch)] == [1, 5, 10]
    assert RankMin(at=(1,)).threshold == 0.5
    assert RankMax(at=(1,)).threshold == 1.5
