"""The decision boundary of a network on points in the plane: how far the points are from it, and its drawing."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

from workloads.measures.registry import Measured, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from workloads.measures.snapshot import Snapshot

    Score = Callable[[Tensor], Tensor]

MARCH = 400  # steps along a direction before bisection: a region narrower than reach / MARCH is stepped over
HALVINGS = 40
SIDE = 121  # places of a side of the drawing
ROOM = 0.5  # drawn around the points


@measure(
    source="Liu et al., arXiv:1906.02613, figure 1",
    unit="distance in the plane",
    convention="eval mode, float64; training part without corruption and without noisy copies; unsigned: a point on"
    " the wrong side counts by its distance too; `reach` where no other class is that near",
)
def geometric_margin(snapshot: Snapshot, *, directions: int = 72, reach: float = 2.0) -> Measured:
    r"""$\min_i \min_u \{r : c(x_i + r u) \ne c(x_i)\}$ over points and evenly spaced directions, by bisection.

    $c$ is the predicted class. Arrays, for drawing: `x` (w,), `y` (h,), `z` (h, w) with $f_1 - f_0$ on a grid around
    the points, `points` (n, 2), `labels` (n,), and `distances` (n,) of the points.

    Raises:
        ValueError: the data are no points of two classes in the plane; fewer than 3 directions; no reach.
    """
    import torch

    data = snapshot.data
    if data.shape != (2, 1, 1) or data.classes != 2:
        raise ValueError("geometric_margin: wants points of two classes in the plane, such as gaussians")
    if directions < 3 or reach <= 0:
        raise ValueError("geometric_margin: wants at least 3 directions and a reach above 0")
    mean, std = (torch.tensor(item, dtype=torch.float64) for item in (data.mean, data.std))
    score = _score(snapshot.model, mean, std)
    points = data.train_x.flatten(1).double()
    with torch.no_grad():
        distances = boundary_distances(score, points, directions, reach)
        x, y = (_side(points[:, axis]) for axis in range(2))
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        z = score(grid.view(-1, 2)).view(len(y), len(x))
    drawn = {"x": x, "y": y, "z": z, "points": points, "labels": data.train_y, "distances": distances}
    return Measured(distances.min().item(), {name: item.numpy() for name, item in drawn.items()})


def boundary_distances(score: Score, points: Tensor, directions: int, reach: float) -> Tensor:
    """For each point (n, 2) the distance to the nearest change of sign of `score` along evenly spaced rays: (n,)."""
    import torch

    angles = torch.arange(directions, dtype=points.dtype) * (2 * math.pi / directions)
    rays = torch.stack([angles.cos(), angles.sin()], 1)
    side = score(points) > 0
    first = torch.full((len(points), directions), reach, dtype=points.dtype)
    for step in range(MARCH, 0, -1):  # from far to near: the last word is the first crossing
        radius = first.new_tensor(reach * step / MARCH)
        first = torch.where(_other(score, points, rays, radius.expand_as(first), side), radius, first)
    high, low = first, first - reach / MARCH
    crossed = _other(score, points, rays, first, side)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        other = _other(score, points, rays, middle, side)
        low, high = torch.where(other, low, middle), torch.where(other, middle, high)
    return torch.where(crossed, high, first.new_tensor(reach)).min(1).values


def _other(score: Score, points: Tensor, rays: Tensor, radii: Tensor, side: Tensor) -> Tensor:
    """(n, directions): whether the place at that radius is on another side than its point."""
    places = points[:, None] + radii[..., None] * rays
    return (score(places.view(-1, 2)).view(radii.shape) > 0) != side[:, None]


def _score(model: nn.Module, mean: Tensor, std: Tensor) -> Score:
    network = copy.deepcopy(model).cpu().double()

    def score(places: Tensor) -> Tensor:
        outputs = network(((places - mean) / std).view(-1, 2, 1, 1))
        return outputs[:, 1] - outputs[:, 0]

    return score


def _side(values: Tensor) -> Tensor:
    import torch

    low, high = values.min().item() - ROOM, values.max().item() + ROOM
    return torch.linspace(low, high, SIDE, dtype=values.dtype)
