"""A classifier of points in the plane: what figures of fields need (a grid, a triangle, samples), in milliseconds."""

from __future__ import annotations

import math

import numpy
from pydantic import Field

from workloads.contract import Config, Context, Result, stream_seed


class PlaneConfig(Config):
    """Two half-moons, ridge regression on `width` random cosines, found by `steps` steps of descent."""

    width: int = Field(default=40, gt=0)
    noise: float = Field(default=0.15, ge=0)
    points: int = Field(default=120, gt=1)
    steps: int = Field(default=300, gt=0)


def run(config: PlaneConfig, context: Context) -> Result:
    """Three classifiers, two of them of partly wrong labels; the third's boundary, and all that lies between them."""
    random = numpy.random.default_rng(stream_seed(context.seed, "plane"))
    points, labels = _moons(random, config)
    test, test_labels = _moons(random, config)
    frequencies, phases = random.normal(size=(2, config.width)), random.uniform(0, 2 * math.pi, config.width)

    def features(at: numpy.ndarray) -> numpy.ndarray:
        return numpy.cos(1.5 * at @ frequencies + phases) * math.sqrt(2 / config.width)

    seen, sides = features(points), 2 * labels - 1
    wrong = (0.45, 0.25, 0.0)  # of the labels that each of the three sees
    seen_by = [numpy.where(random.uniform(size=config.points) < share, -sides, sides) for share in wrong]
    corners = [
        _descend(seen, sides, config, random, context if corner == 2 else None) for corner, sides in enumerate(seen_by)
    ]
    shares = numpy.array([(i / 20, j / 20, (20 - i - j) / 20) for i in range(21) for j in range(21 - i)])
    right = [float(((seen @ (share @ numpy.stack(corners)) > 0) == labels).mean()) for share in shares]
    x, y = numpy.linspace(-1.8, 2.8, 93), numpy.linspace(-1.3, 1.8, 63)
    grid = numpy.stack(numpy.meshgrid(x, y), axis=-1)
    counts, edges = numpy.histogram(seen @ corners[2], 24, (-2, 2))
    return Result(
        metrics={
            "test_accuracy": float(((features(test) @ corners[2] > 0) == test_labels).mean()),
            "norm": float(numpy.linalg.norm(corners[2])),
        },
        arrays={
            **{"x": x, "y": y, "z": features(grid) @ corners[2], "points": points, "labels": labels},
            **{"weights": shares, "train_accuracy": numpy.array(right)},
            **{"scores": seen @ corners[2], "counts": counts, "edges": edges},
        },
    )


def _moons(random: numpy.random.Generator, config: PlaneConfig) -> tuple[numpy.ndarray, numpy.ndarray]:
    labels = numpy.arange(config.points) % 2
    angle = random.uniform(0, math.pi, config.points)
    sign = 1 - 2 * labels
    moons = numpy.stack([numpy.cos(angle) * sign + labels, numpy.sin(angle) * sign + 0.5 * labels], axis=1)
    return moons + random.normal(0, config.noise, moons.shape), labels


def _descend(
    seen: numpy.ndarray,
    sides: numpy.ndarray,
    config: PlaneConfig,
    random: numpy.random.Generator,
    context: Context | None,
) -> numpy.ndarray:
    weights = random.normal(size=config.width)
    rate = 1 / numpy.linalg.norm(seen, 2) ** 2
    for step in range(1, config.steps + 1):
        wrong = seen @ weights - sides
        weights = weights - rate * seen.T @ wrong
        if context is not None:
            context.log(step, train_loss=float((wrong**2).mean()))
    return weights
