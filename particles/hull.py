"""The convex hull of the tokens in the plane, whose vertices are where clusters form in R^d (arXiv:2305.05465).

A token of weight zero is not part of it. Tokens that are not finite give NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .ensemble import Ensemble
from .shape import weights_of
from .space import Space

Array = NDArray[np.float64]
FLAT = 1e-9  # of the largest |x_i|: a token this near to the line between two others is no vertex


def check_plane(name: str, space: Space) -> None:
    """Raise InvalidInput unless the tokens are in the plane."""
    if space.dimension != 2:
        raise InvalidInput(f"{name} is defined for tokens in the plane, of dimension 2; got {space.dimension}")


def hull_area(ensemble: Ensemble) -> Array:
    """The area of the convex hull of the tokens, (replicas,): (1/2) sum_k x_k y_{k+1} - x_{k+1} y_k over its vertices.

    0 where all tokens lie on one line. Raises InvalidInput unless the dimension is 2.
    """

    def area(corners: Array) -> float:
        x, y = (corners - corners[0]).T  # from a corner, which loses no digits where the hull is small and far away
        return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))

    return _of_each("hull_area", ensemble, lambda points: area(points[corners_of(points)]))


def hull_perimeter(ensemble: Ensemble) -> Array:
    """The length of the boundary of the convex hull of the tokens, (replicas,); twice that of a segment.

    Raises InvalidInput unless the dimension is 2.
    """

    def perimeter(corners: Array) -> float:
        return float(np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1).sum())

    return _of_each("hull_perimeter", ensemble, lambda points: perimeter(points[corners_of(points)]))


def hull_vertices(ensemble: Ensemble) -> Array:
    """The number of vertices of the convex hull of the tokens, (replicas,): 1 for a point, 2 for a segment.

    A token counts that stands out by more than 1e-9 of the largest |x_i|, so a cluster is one vertex. Raises
    InvalidInput unless the dimension is 2.
    """

    def vertices(points: Array) -> float:
        return float(len(corners_of(points, FLAT * float(np.linalg.norm(points, axis=1).max()))))

    return _of_each("hull_vertices", ensemble, vertices)


def corners_of(points: Array, room: float = 0.0) -> NDArray[np.intp]:
    """The vertices of the convex hull of points (n, 2), anticlockwise, as their numbers.

    room : leave out those that stand out by no more than this. Andrew's monotone chains, O(n log n).
    """
    from .chains import chain  # imports numba, which takes a while

    order = np.lexsort((points[:, 1], points[:, 0]))
    lower, upper = (way[chain(np.ascontiguousarray(points[way]), room)] for way in (order, order[::-1]))
    corners = np.concatenate([lower[:-1], upper[:-1]])
    return corners if len(corners) else order[:1]


def _of_each(name: str, ensemble: Ensemble, function: Callable[[Array], float]) -> Array:
    check_plane(name, ensemble.space)
    weights = np.broadcast_to(weights_of(ensemble), ensemble.positions.shape[:2])
    found = np.full(ensemble.replicas, np.nan)
    for replica, (x, a) in enumerate(zip(ensemble.positions, weights, strict=True)):
        points = np.asarray(x, np.float64)[a > 0]
        if np.isfinite(points).all():
            found[replica] = function(points)
    return found
