"""The tangent kernel against loops of backward passes, for every network; closed forms of linear ones. Check 6."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.integration.test_sweep import results, sweep
from tests.unit.workloads.test_models_outputs import CASES, NAMES, Case, images, ruled
from workloads.datasets import Digits
from workloads.datasets.images import Data
from workloads.measures.ntk import chosen, ntk_correlation, ntk_correlation_with_start, ntk_norm, ntk_relative_change
from workloads.measures.snapshot import Snapshot
from workloads.models import MLP
from workloads.spectra import tangent_kernel as ntk
from workloads.spectra.tangent_kernel import correlation, norm_change, relative_change, similarity, tangent_kernel
from workloads.starts.default import initialize


def loop(model: nn.Module, x: Tensor) -> Tensor:
    """One backward pass for each logit of each image, and the whole Jacobian."""
    parameters = [*model.eval().requires_grad_(True).parameters()]
    logits = model(x)
    gradients = [torch.autograd.grad(logit, parameters, retain_graph=True) for logit in logits.flatten()]
    jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in gradients]).double()
    count, outputs = logits.shape
    return (jacobian @ jacobian.T).view(count, outputs, count, outputs).transpose(1, 2)


def flat(kernel: Tensor) -> Tensor:
    """(N, N, K, K) -> (NK, NK)."""
    count, _, outputs, _ = kernel.shape
    return kernel.transpose(1, 2).reshape(count * outputs, count * outputs)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_every_network_has_the_kernel_of_its_jacobian(case: Case):
    model, x = ruled(case), images(case)[:3]
    fast, slow = tangent_kernel(model, x), loop(model, x)
    assert fast.dtype == torch.float64
    assert (fast - slow).abs().max().item() <= 1e-12 * slow.abs().max().item()
    assert torch.equal(fast, fast.permute(1, 0, 3, 2)), "symmetric under (i, k) <-> (j, l)"
    values = torch.linalg.eigvalsh(flat(fast))
    assert values[0].item() >= -1e-12 * values[-1].item()


@pytest.mark.parametrize("block", [1, 200, 1 << 26])
@pytest.mark.parametrize("way", ["_by_jacobian", "_by_pairs"])
def test_both_ways_and_all_blocks_give_one_convolution(way: str, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ntk, "BLOCK", block)
    draws = torch.Generator().manual_seed(0)
    u = torch.randn(3, 5, 6, dtype=torch.float64, generator=draws)
    d = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=draws)
    jacobian = torch.einsum("nkop,npc->nkoc", d, u).reshape(6, -1)
    torch.testing.assert_close(getattr(ntk, way)(u, d.unbind(1)), jacobian @ jacobian.T, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shared", [True, False], ids=["one place for all logits", "other places for another logit"])
def test_gradients_of_a_few_places_give_the_same_convolution(shared: bool, monkeypatch: pytest.MonkeyPatch):
    """Behind a max-pool; in float32, by sums over the places where those are the same for all logits."""
    draws = torch.Generator().manual_seed(0)
    u = torch.randn(3, 36, 7, generator=draws)
    d = torch.zeros(3, 2, 4, 36)
    places = torch.rand(3, 4, 36, generator=draws).topk(4).indices
    for logit in range(2):
        d[:, logit].scatter_(2, (places + (0 if shared else logit)) % 36, torch.randn(3, 4, 4, generator=draws))
    d[0, :, 0] = 0  # a channel that is switched off
    calls: list[int] = []
    by_places = ntk._by_places
    monkeypatch.setattr(ntk, "_by_places", lambda *given: calls.append(1) or by_places(*given))
    jacobian = torch.einsum("nkop,npc->nkoc", d.double(), u.double()).reshape(6, -1)
    torch.testing.assert_close(ntk._by_jacobian(u, d.unbind(1)), jacobian @ jacobian.T, rtol=1e-5, atol=1e-5)
    assert len(calls) == shared


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, (0, 0), 1), (2, (1, 1), 1), ((1, 3), (2, 1), 1), (1, (0, 2), (2, 1))]
)
def test_patches_are_those_of_unfold(stride: Any, padding: tuple[int, int], dilation: Any):
    layer = nn.Conv2d(2, 3, (3, 2), stride, padding, dilation)
    x = torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    slow = nn.functional.unfold(x, (3, 2), dilation, padding, stride).view(2, 2, 6, -1)  # (N, C, kh kw, P)
    assert torch.equal(ntk._patches(layer, x), slow.permute(0, 3, 2, 1).flatten(2))


def test_a_linear_model_has_its_closed_form():
    """Check 6: Phi_ijkl = (x_i . x_j + 1) delta_kl, whatever the weights."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    x = torch.randn(5, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inner = x.flatten(1) @ x.flatten(1).T + 1
    torch.testing.assert_close(tangent_kernel(model, x), inner[:, :, None, None] * torch.eye(4, dtype=torch.float64))


def test_two_layers_have_the_jacobian_of_finite_differences():
    """Check 6."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=draws)
    x, step, columns = torch.randn(4, 3, 1, 1, dtype=torch.float64, generator=draws), 1e-5, []
    with torch.no_grad():
        for parameter in model.parameters():
            for entry in parameter.view(-1).split(1):
                entry.add_(step)
                up = model(x)
                entry.sub_(2 * step)
                down = model(x)
                entry.add_(step)
                columns.append(((up - down) / (2 * step)).flatten())
    jacobian = torch.stack(columns, 1)
    torch.testing.assert_close(flat(tangent_kernel(model, x)), jacobian @ jacobian.T, rtol=1e-7, atol=1e-7)


def test_in_single_precision_it_is_symmetric_and_nearly_psd():
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
    x = torch.randn(25, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    kernel = tangent_kernel(model, x)
    assert torch.equal(kernel, kernel.permute(1, 0, 3, 2))
    values = torch.linalg.eigvalsh(flat(kernel))
    assert values[0].item() >= -1e-6 * values[-1].item()
    torch.testing.assert_close(kernel, loop(model, x), rtol=0, atol=1e-6 * kernel.abs().max().item())


def test_the_model_is_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))
    model.train().requires_grad_(False)
    before = {name: item.clone() for name, item in model.state_dict().items()}
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    fast = tangent_kernel(model, x)
    assert model.training
    assert not any(layer._forward_hooks for layer in model.modules())
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())
    torch.testing.assert_close(fast, loop(model, x), rtol=1e-5, atol=1e-5)


def test_layers_used_twice_are_refused():
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="to be called, and once"):
        tangent_kernel(nn.Sequential(layer, layer), torch.ones(1, 2))


def test_comparisons_of_a_kernel_and_its_multiple():
    """Check 6: corr(A, 3A) = 1, relative change 2."""
    kernel = torch.randn(3, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert correlation(kernel, 3 * kernel) == pytest.approx(1)
    assert correlation(kernel, 1 - kernel) == pytest.approx(-1)
    assert similarity(kernel, 3 * kernel) == pytest.approx(1)
    assert relative_change(kernel, 3 * kernel) == pytest.approx(2)
    assert norm_change(kernel, -3 * kernel) == pytest.approx(2)
    assert relative_change(0 * kernel, kernel) == math.inf
    assert math.isnan(correlation(0 * kernel + 1, kernel))
    other = kernel.flip(0)
    pair = torch.corrcoef(torch.stack([kernel.flatten(), other.flatten()]))
    assert correlation(kernel, other) == pytest.approx(pair[0, 1].item())


def snapshot(seed: int = 0, start: int = 1) -> Snapshot:
    data = Digits(subset=200).load(Path(), 0)
    models = [MLP(width=8, depth=1).build(data.shape, data.classes) for _ in range(2)]
    for model, draws in zip(models, (start, 7), strict=True):
        initialize(model, draws)
    return Snapshot(models[1].eval(), dict(models[0].state_dict()), data, "cpu", seed)


def test_images_are_drawn_by_seed_or_sorted_by_class():
    one, other = snapshot(), snapshot(seed=1)
    assert chosen(one, 25, "seed").tolist() == chosen(snapshot(), 25, "seed").tolist()
    assert chosen(one, 25, "seed").tolist() != chosen(other, 25, "seed").tolist()
    assert len({*chosen(one, 25, "seed").tolist()}) == 25
    labels = one.data.train_y
    first = chosen(one, 25, "sorted")
    assert first.max() < 128
    assert labels[first].tolist() == sorted(labels[:128].tolist())[:25]


def test_measures_compare_the_same_images():
    one, other = snapshot(), snapshot(start=2)
    kernels = [tangent_kernel(it.model, it.train_images[chosen(it, 25, "seed")]) for it in (one, other)]
    assert ntk_norm(one) == pytest.approx(kernels[0].norm().item())
    assert ntk_correlation(one, other) == pytest.approx(1), "the start is no part of it"
    before = Snapshot(MLP(width=8, depth=1).build(one.data.shape, 10).eval(), {}, one.data, "cpu")
    before.model.load_state_dict(one.start)
    assert ntk_relative_change(before, one, images=5) > 0.1
    assert ntk_correlation_with_start(one) == pytest.approx(ntk_correlation(before, one))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"images": 0}, "within 1 and 200"), ({"images": 129, "draw": "sorted"}, "and 128"), ({"draw": "all"}, "one of")],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        ntk_norm(snapshot(), **options)


def test_other_numbers_of_logits_do_not_compare():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(), snapshot().data
    with pytest.raises(ValueError, match="3 and 10 logits"):
        ntk_correlation(Snapshot(model, {}, Data(**vars(x)), "cpu"), snapshot())


SPEC = """
name: kernels
stages:
  train:
    workload: train
    data: {name: digits, subset: 100}
    model: {name: ntk_convnet, width: 1}
    optimizer: {name: sgd, lr: 0.05}
    stop: {epochs: 2}
    events: [{name: record, measures: [ntk_norm, ntk_correlation_with_start, parameter_norm]}]
  kernel: {workload: measure, from: train, measures: [ntk_correlation_with_start]}
  moved:
    workload: measure
    from: {first: train.start, second: train}
    measures: [ntk_relative_change, ntk_correlation, ntk_similarity, ntk_norm_change]
"""


def test_a_sweep_compares_kernels_before_and_after(tmp_path: Path):
    spec, store = tmp_path / "kernels.yaml", tmp_path / "store"
    spec.write_text(SPEC)
    run = sweep("run", spec, "--store", store, "--inline", "--quiet")
    assert run.returncode == 0, run.stderr
    found = {name: column[0] for name, column in results(store, "kernels").items()}
    assert found["metric.ntk_correlation"] == found["metric.ntk_correlation_with_start"]
    assert -1 <= found["metric.ntk_correlation"] < 1
    assert found["metric.ntk_norm_change"] <= found["metric.ntk_relative_change"]
