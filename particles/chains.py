"""One side of a convex hull, compiled. Importing this module imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def chain(points: NDArray, room: float) -> NDArray:  # pragma: no cover
    """The points (n, 2), in order of x and y, that no line between two others leaves on its left, as their numbers.

    The first and last are among them, one alone where they are the same point. Of the others those stand out by more
    than `room`.
    """
    kept = np.empty(len(points), np.int64)
    count = 0
    for i in range(len(points)):
        while count > 0:
            bx, by = points[kept[count - 1], 0], points[kept[count - 1], 1]
            x, y = points[i, 0] - bx, points[i, 1] - by
            if count == 1:
                if i + 1 < len(points) or x * x + y * y > room * room:
                    break  # the first is kept, unless nothing else is
                count = 0
                break
            ax, ay = points[kept[count - 2], 0] - bx, points[kept[count - 2], 1] - by
            # twice the area of the triangle, positive where it turns left at b
            area = y * -ax - x * -ay
            base = np.sqrt((x - ax) * (x - ax) + (y - ay) * (y - ay))
            if area > room * base:
                break
            count -= 1
        kept[count] = i
        count += 1
    return kept[:count].copy()
