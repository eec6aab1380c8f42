"""The empirical neural tangent kernel of a few images, and how far training takes it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.measures.snapshot import Snapshot

SOURCE = "Goldblum et al., arXiv:1910.00359, section 4"
CONVENTION = (
    "eval mode; all parameters, biases and batch norm's among them; logits; images of the training part without"
    " corruption, `seed`: drawn once for each seed, `sorted`: the first by label of the first 128, as published;"
    " layers in float32, their sum in float64"
)
DRAWS = ("seed", "sorted")
BATCH = 128  # of the published code, whose first one is sorted


@measure(source=SOURCE + ", figure 3", unit="squared logits per squared weight", convention=CONVENTION)
def ntk_norm(snapshot: Snapshot, *, images: int = 25, draw: str = "seed") -> float:
    r"""$\lVert \Phi \rVert_F$ of $\Phi_{ijkl} = \partial_\phi f_k(x_i) \cdot \partial_\phi f_l(x_j)$.

    Raises:
        ValueError: there are not so many images, or no such draw.
    """
    return _kernel(snapshot, images, draw).norm().item()


@measure(source=SOURCE + ", figure 1a", unit="1", convention=CONVENTION)
def ntk_relative_change(first: Snapshot, second: Snapshot, *, images: int = 25, draw: str = "seed") -> float:
    r"""$\lVert \Phi_2 - \Phi_1 \rVert_F / \lVert \Phi_1 \rVert_F$: the first is the start, the second trained.

    Raises:
        ValueError: as `ntk_norm`; the two have other numbers of logits.
    """
    from workloads.spectra.tangent_kernel import relative_change

    return _compared(relative_change, first, second, images, draw)


@measure(source=SOURCE + ", figure 4", unit="1", convention=CONVENTION)
def ntk_norm_change(first: Snapshot, second: Snapshot, *, images: int = 25, draw: str = "seed") -> float:
    r"""$|\lVert \Phi_1 \rVert_F - \lVert \Phi_2 \rVert_F| / \lVert \Phi_1 \rVert_F$: the first is the start.

    Raises:
        ValueError: as `ntk_relative_change`.
    """
    from workloads.spectra.tangent_kernel import norm_change

    return _compared(norm_change, first, second, images, draw)


@measure(source=SOURCE + ", figure 1b", unit="1", convention=CONVENTION)
def ntk_correlation(first: Snapshot, second: Snapshot, *, images: int = 25, draw: str = "seed") -> float:
    r"""$\mathrm{Cov}(\Phi_1, \Phi_2) / (\sigma(\Phi_1) \sigma(\Phi_2))$ over all entries.

    Raises:
        ValueError: as `ntk_relative_change`.
    """
    from workloads.spectra.tangent_kernel import correlation

    return _compared(correlation, first, second, images, draw)


@measure(source=SOURCE + ", figure 4", unit="1", convention=CONVENTION)
def ntk_similarity(first: Snapshot, second: Snapshot, *, images: int = 25, draw: str = "seed") -> float:
    r"""$\langle \Phi_1, \Phi_2 \rangle / (\lVert \Phi_1 \rVert_F \lVert \Phi_2 \rVert_F)$.

    Raises:
        ValueError: as `ntk_relative_change`.
    """
    from workloads.spectra.tangent_kernel import similarity

    return _compared(similarity, first, second, images, draw)


@measure(source=SOURCE + ", figure 3", unit="1", convention=CONVENTION)
def ntk_correlation_with_start(snapshot: Snapshot, *, images: int = 25, draw: str = "seed") -> float:
    """`ntk_correlation` of the network before the first step of the node measured and the network now.

    Raises:
        ValueError: as `ntk_norm`.
    """
    from workloads.spectra.tangent_kernel import correlation

    return _compared(correlation, _before(snapshot), snapshot, images, draw)


def _compared(
    compare: Callable[[Tensor, Tensor], float], first: Snapshot, second: Snapshot, images: int, draw: str
) -> float:
    one, other = (_kernel(snapshot, images, draw).cpu() for snapshot in (first, second))
    if one.shape != other.shape:
        raise ValueError(f"ntk: the networks have {one.shape[-1]} and {other.shape[-1]} logits")
    return compare(one, other)


def _kernel(snapshot: Snapshot, images: int, draw: str) -> Tensor:
    from workloads.spectra.tangent_kernel import tangent_kernel

    def build() -> Tensor:
        return tangent_kernel(snapshot.model, snapshot.train_images[chosen(snapshot, images, draw)])

    return snapshot.memo(("ntk", images, draw), build)


def chosen(snapshot: Snapshot, images: int, draw: str) -> Tensor:
    """The places of the images in the training part.

    Raises:
        ValueError: there are not so many, or no such draw.
    """
    import torch

    from workloads.streams import generator

    labels = snapshot.data.train_y
    if draw not in DRAWS:
        raise ValueError(f"ntk: draw is one of {', '.join(DRAWS)}, got {draw!r}")
    there = min(len(labels), BATCH) if draw == "sorted" else len(labels)
    if not 1 <= images <= there:
        raise ValueError(f"ntk: images must be within 1 and {there}, got {images}")
    if draw == "sorted":
        return labels[:BATCH].argsort(stable=True)[:images]
    return torch.randperm(len(labels), generator=generator(snapshot.seed, "ntk"))[:images]


def _before(snapshot: Snapshot) -> Snapshot:
    from workloads.measures.snapshot import Snapshot

    def build() -> Snapshot:
        model = copy.deepcopy(snapshot.model)
        model.load_state_dict(snapshot.start)
        return Snapshot(model, snapshot.start, snapshot.data, snapshot.device, snapshot.seed)

    return snapshot.memo("start", build)
