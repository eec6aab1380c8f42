"""The loss over the whole training part as a function of the parameters: value, gradient, and the Hessian's ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workloads.measures.registry import Measured, measure

if TYPE_CHECKING:
    import torch

    from workloads.measures.snapshot import Snapshot
    from workloads.spectra.extremes import Ends
    from workloads.spectra.loss import FullLoss

SOURCE = "Goldblum et al., arXiv:1910.00359, section 2, tables 1 and 2"
CONVENTION = (
    "eval mode; the whole training part without corruption and augmentation, a smaller last batch with its own weight;"
    " cross-entropy plus weight_decay / 2 |phi|^2 over all parameters, biases and batch norm's among them"
)
PAIRS = (
    CONVENTION + "; the eigenpair is found with products in `precision`, then its value and residual are computed in"
    " float64; `residual` beside it: an eigenvalue is that near; `sign` beside it: 0 where they do not decide it"
)
METHODS = ("lanczos", "power")
PRECISIONS = ("fp32", "fp64")
BASIS, FEWEST = 4 << 30, 20  # bytes of Lanczos vectors, and how many there are at least
ROUNDING = 1e-12  # of float64 products, over the spectral radius


@measure(source=SOURCE, unit="nats", convention=CONVENTION)
def regularized_loss(snapshot: Snapshot, *, weight_decay: float = 0.0) -> float:
    r"""$\frac{1}{n} \sum_i \ell_i + \frac{c}{2} \lVert \phi \rVert^2$ on the training part; table 1's has both terms.

    Raises:
        ValueError: the weight decay is below 0.
    """
    return _full_loss(snapshot, weight_decay).value()


@measure(source=SOURCE, unit="nats per weight", convention=CONVENTION)
def gradient_norm(snapshot: Snapshot, *, weight_decay: float = 0.0) -> float:
    r"""$\lVert \nabla_\phi \frac{1}{n} \sum_i \ell_i + c \phi \rVert_2$ over the whole training part.

    Raises:
        ValueError: the weight decay is below 0.
    """
    return _full_loss(snapshot, weight_decay).gradient().norm().item()


@measure(source=SOURCE, unit="nats per squared weight", convention=PAIRS)
def smallest_hessian_eigenvalue(
    snapshot: Snapshot,
    *,
    weight_decay: float = 0.0,
    method: str = "lanczos",
    residual: float = 1e-3,
    products: int = 500,
    precision: str = "fp32",
) -> Measured:
    r"""$\lambda_{\min}$ of the full loss' Hessian, by its Rayleigh quotient, which never is below it.

    `lanczos` ends when both ends have the `residual` asked for, or after so many `products` of the Hessian with a
    vector. `power` is the published one: for the eigenvalue of largest size, then on the Hessian shifted by it; each
    with so many products. A `sign` of 1 wants the residual that was asked for, as further down there may be another.

    Of a network whose gradient or Hessian is not finite all is nan, and the sign 0.

    Raises:
        ValueError: an option is out of its range.
    """
    ends = _ends(snapshot, weight_decay, method, residual, products, precision)
    sign = ends.smallest.sign(-1, residual, ROUNDING * ends.radius)
    return Measured(ends.smallest.value, beside={"residual": ends.smallest.residual, "sign": float(sign)})


@measure(source=SOURCE + " and remark 2.2", unit="nats per squared weight", convention=PAIRS)
def largest_hessian_eigenvalue(
    snapshot: Snapshot,
    *,
    weight_decay: float = 0.0,
    method: str = "lanczos",
    residual: float = 1e-3,
    products: int = 500,
    precision: str = "fp32",
) -> Measured:
    r"""$\lambda_{\max}$ of the full loss' Hessian, by its Rayleigh quotient, which never is above it.

    Options are those of `smallest_hessian_eigenvalue`; where they are equal, one search serves both.

    Raises:
        ValueError: an option is out of its range.
    """
    ends = _ends(snapshot, weight_decay, method, residual, products, precision)
    sign = ends.largest.sign(1, residual, ROUNDING * ends.radius)
    return Measured(ends.largest.value, beside={"residual": ends.largest.residual, "sign": float(sign)})


def _ends(snapshot: Snapshot, weight_decay: float, method: str, residual: float, products: int, precision: str) -> Ends:
    """Both ends, remembered with the snapshot; the random vector it starts from is of the trial's seed."""
    for name, given, allowed in (("method", method, METHODS), ("precision", precision, PRECISIONS)):
        if given not in allowed:
            raise ValueError(f"hessian eigenvalue: {name} is one of {', '.join(allowed)}, got {given!r}")
    if residual < 0 or products < 1:
        raise ValueError("hessian eigenvalue: wants a residual of at least 0 and at least 1 product")
    key = ("hessian", weight_decay, method, residual, products, precision)
    return snapshot.memo(key, lambda: _search(snapshot, weight_decay, method, residual, products, precision))


def _search(
    snapshot: Snapshot, weight_decay: float, method: str, residual: float, products: int, precision: str
) -> Ends:
    import torch

    from workloads.spectra.extremes import Eigenpair, Ends, eigenpair, lanczos, power
    from workloads.streams import generator

    size = sum(parameter.numel() for parameter in snapshot.model.parameters())
    start = torch.randn(size, generator=generator(snapshot.seed, "hessian"), dtype=torch.float64).to(snapshot.device)
    if not math.isfinite(gradient_norm(snapshot, weight_decay=weight_decay)):
        nowhere = Eigenpair(math.nan, math.nan, start)
        return Ends(nowhere, nowhere, 0)
    dtype = torch.float64 if precision == "fp64" else torch.float32
    product = _full_loss(snapshot, weight_decay, dtype).hessian
    exact = _full_loss(snapshot, weight_decay, torch.float64, kept=0).hessian
    if method == "lanczos":
        return lanczos(product, start, residual, products, max(FEWEST, BASIS // (8 * size)), exact)
    found = power(product, start, residual, products)
    del product  # and the graphs that it keeps
    smallest, largest = (eigenpair(exact, pair.vector) for pair in (found.smallest, found.largest))
    return Ends(smallest, largest, found.products + 2)


def _full_loss(
    snapshot: Snapshot, weight_decay: float, dtype: torch.dtype | None = None, kept: int | None = None
) -> FullLoss:
    import torch

    from workloads.spectra.loss import FullLoss

    if weight_decay < 0:
        raise ValueError(f"weight_decay: must be at least 0, got {weight_decay:g}")
    labels = snapshot.data.train_y.to(snapshot.device)
    return FullLoss(snapshot.model, snapshot.train_images, labels, weight_decay, dtype or torch.float32, kept)
