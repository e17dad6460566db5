"""The infinitely deep network from several starts: whether all lead to one fixed point, and if not to how many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..particles.backends import Engine, EngineOptions
from ..particles.block import Law
from ..particles.ensemble import Ensemble
from ..particles.space import Sphere
from .fixed_point import FixedPoint, Method, check_count, check_options, sought
from .layer_map import LayerMap

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Starts:
    """Where several starts of the same tokens lead.

    points    : of each start                distances : (starts, starts), max_i |x_i - y_i| of what they reached
    labels    : (starts,), which fixed point each reached, numbered by first appearance; -1 for none
    distinct  : how many there are; tokens have names, so the same places in another order are another point
    """

    points: tuple[FixedPoint, ...]
    distances: Array
    labels: NDArray[np.intp]

    @property
    def distinct(self) -> int:
        return int(self.labels.max(initial=-1)) + 1


def several_starts(
    law: Law,
    ensemble: Ensemble,
    *,
    starts: int = 8,
    seed: int = 0,
    radius: float | None = None,
    apart: float = 1e-6,
    step: float = 1.0,
    residual: bool = False,
    injection: ArrayLike | None = None,
    method: Method = "picard",
    tolerance: float = 1e-12,
    most: int = 10_000,
    memory: int = 5,
    **engine: Unpack[EngineOptions],
) -> Starts:
    """`fixed_point` from the ensemble and from `starts` - 1 random ones of as many tokens.

    radius : in R^d, of the ball in which random tokens are uniform, by default the largest |x_i| of the ensemble or
             |u_i|; on a sphere they are uniform on it. Start k is a function of the seed and k
    apart  : relative to the size of the larger point, the distance of a token from which on fixed points are distinct

    Raises InvalidInput as `fixed_point`, and for numbers out of range.
    """
    check_options(method, tolerance, most, memory)
    check_count("starts", starts)
    if not (np.isfinite(apart) and apart > 0):
        raise InvalidInput(f"apart must be a positive number; got {apart!r}")
    options: Any = {"step": step, "residual": residual, "injection": injection, "engine": Engine(**engine)}
    layer = LayerMap(law, ensemble, **options)
    shape = ensemble.positions.shape
    draw = _drawing(ensemble, layer, radius)
    points = []
    for k in range(starts):
        x = ensemble.positions if k == 0 else draw(np.random.default_rng([seed, k]), shape[:2])
        points.append(sought(layer, ensemble.at(x), method, tolerance, most, memory))
    return _compared(tuple(points), apart)


def _drawing(ensemble: Ensemble, layer: LayerMap, radius: float | None) -> Callable[..., NDArray[np.floating]]:
    space: Any = ensemble.space
    if isinstance(space, Sphere):
        if radius is not None:
            raise InvalidInput("radius must be left out on a sphere, which has its own")
        return space.uniform
    if radius is None:
        input_size = 0.0 if layer.injection is None else float(np.linalg.norm(layer.injection, axis=-1).max())
        radius = max(float(np.linalg.norm(ensemble.positions, axis=-1).max()), input_size) or 1.0
    if not (np.isfinite(radius) and radius > 0):
        raise InvalidInput(f"radius must be a positive number; got {radius!r}")
    return lambda generator, shape: space.uniform(generator, shape, radius=radius)


def _compared(points: tuple[FixedPoint, ...], apart: float) -> Starts:
    x = np.array([point.positions[0] for point in points])
    distances = np.array([np.linalg.norm(x - each, axis=-1).max(axis=-1) for each in x])
    sizes = np.linalg.norm(x, axis=-1).max(axis=-1)
    # points at the origin have no size of their own
    sizes = np.array([max(size, _first_size(point)) for size, point in zip(sizes, points, strict=True)])
    labels = np.full(len(points), -1, np.intp)
    for k, point in enumerate(points):
        if not point.converged:
            continue
        same = [i for i in range(k) if labels[i] >= 0 and distances[k, i] <= apart * max(sizes[k], sizes[i])]
        labels[k] = labels[same[0]] if same else labels.max(initial=-1) + 1
    return Starts(points, distances, labels)


def _first_size(point: FixedPoint) -> float:
    """About the size of a start: that of its distance from consensus."""
    return float(point.spreads[0])
