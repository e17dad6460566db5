"""Wasserstein distances of two ensembles as measures, W_p(mu, nu)^p = min over couplings of E d(x, y)^p, p = 1 or 2.

    exact     the assignment of equal tokens to one another (scipy), quantiles on the line; along the circle for W1 the
              median of what one distribution function is ahead of the other, for W2 the quantiles with the best of all
              shifts; else a linear programme (POT)
    sliced    (mean over directions u of W_p(<mu, u>, <nu, u>)^p)^(1/p), a distance of its own, below W_p; O(n log n)

d is the straight distance or, on a sphere, the geodesic one. Source for the circle: Delon, Salomon, Sobolevski, SIAM J.
Appl. Math. 70 (2010) 2239.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, MissingExtra
from .ensemble import Ensemble
from .space import Sphere

Array = NDArray[np.floating]
LARGEST_EXACT = 5000  # tokens: an assignment of so many takes some 10 seconds and 400 MB


def wasserstein(
    mu: Ensemble,
    nu: Ensemble,
    *,
    order: int = 1,
    metric: Literal["euclidean", "geodesic"] = "euclidean",
    method: Literal["exact", "sliced"] = "exact",
    directions: int = 256,
    seed: int = 0,
) -> Array:
    """W_p of two ensembles, replica by replica, (replicas,); one replica on a side is compared with all of the other.

    order  : p, 1 or 2       metric : "geodesic" is that of the space, great circles on a sphere
    method : "exact", or "sliced" with so many random `directions`, drawn from `seed`, for the straight distance

    Raises InvalidInput for ensembles of different spaces or numbers of replicas, or for more than 5000 tokens where no
    formula avoids a matrix of distances; MissingExtra where weights or numbers of tokens differ and POT is not there.
    """
    if mu.space != nu.space:
        raise InvalidInput(f"both ensembles must be of the same space; got {mu.space} and {nu.space}")
    if mu.replicas != nu.replicas and 1 not in (mu.replicas, nu.replicas):
        raise InvalidInput(f"both ensembles must have the same number of replicas; got {mu.replicas} and {nu.replicas}")
    if order not in (1, 2):
        raise InvalidInput(f"order must be 1 or 2; got {order!r}")
    if metric not in ("euclidean", "geodesic"):
        raise InvalidInput(f'metric must be "euclidean" or "geodesic"; got {metric!r}')
    if method not in ("exact", "sliced"):
        raise InvalidInput(f'method must be "exact" or "sliced"; got {method!r}')
    sphere = mu.space if metric == "geodesic" and isinstance(mu.space, Sphere) else None
    if method == "sliced" and sphere is not None:
        raise InvalidInput("sliced distances are those of straight lines: metric must be euclidean")
    count = max(mu.replicas, nu.replicas)
    found = np.empty(count)
    for replica in range(count):
        (x, a), (y, b) = (_measure(each, replica) for each in (mu, nu))
        if method == "sliced":
            found[replica] = _sliced(x, a, y, b, order, directions, seed)
        elif x.shape[1] == 1:
            found[replica] = on_line(x[:, 0], a, y[:, 0], b, order)
        elif sphere is not None and x.shape[1] == 2:
            angles, others = (np.arctan2(z[:, 1], z[:, 0]) for z in (x, y))
            cost = _on_circle if order == 1 else _squared_on_circle
            found[replica] = sphere.radius**order * cost(angles, others, a, b)
        else:
            found[replica] = _exact(x, a, y, b, order, sphere)
    return found ** (1.0 / order)


def on_line(x: Array, a: Array, y: Array, b: Array, order: int) -> float:
    """W_p^p of sum_i a_i delta_{x_i} and sum_j b_j delta_{y_j} on the line: the quantiles of both, side by side."""
    first, second = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
    levels = np.cumsum(a[first]), np.cumsum(b[second])
    every = np.sort(np.concatenate(levels))
    lengths = np.diff(every, prepend=0.0)
    middle = every - lengths / 2
    from_x, from_y = (
        z[order_of][np.minimum(np.searchsorted(level, middle), len(z) - 1)]
        for z, order_of, level in ((x, first, levels[0]), (y, second, levels[1]))
    )
    return float(lengths @ np.abs(from_x - from_y) ** order)


def _measure(ensemble: Ensemble, replica: int) -> tuple[Array, Array]:
    """Positions and weights of a replica, or of the only one, without tokens of weight zero."""
    at = replica if ensemble.replicas > 1 else 0
    weights = np.broadcast_to(np.asarray(ensemble.weights, np.float64), ensemble.positions.shape[:2])[at]
    seen = weights > 0
    return np.asarray(ensemble.positions[at], np.float64)[seen], weights[seen] / weights[seen].sum()


def _sliced(x: Array, a: Array, y: Array, b: Array, order: int, directions: int, seed: int) -> float:
    u = np.random.default_rng(seed).standard_normal((directions, x.shape[1]))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    if len(x) == len(y) and np.ptp(a) == np.ptp(b) == 0.0:
        apart = [np.sort(x @ each) - np.sort(y @ each) for each in u]
        return float(np.mean([np.mean(np.abs(each) ** order) for each in apart]))
    return float(np.mean([on_line(x @ each, a, y @ each, b, order) for each in u]))


def _on_circle(angles: Array, others: Array, a: Array, b: Array) -> float:
    """W1 along the unit circle: the integral of |F - G - its median|, with F and G the distribution functions."""
    places = np.concatenate([angles, others])
    order = np.argsort(places, kind="stable")
    ahead = np.cumsum(np.concatenate([a, -b])[order])
    lengths = np.diff(places[order], append=places[order[0]] + 2.0 * np.pi)
    ranks = np.argsort(ahead, kind="stable")
    half = min(int(np.searchsorted(np.cumsum(lengths[ranks]), np.pi)), len(ranks) - 1)
    return float(lengths @ np.abs(ahead - ahead[ranks[half]]))


def _squared_on_circle(angles: Array, others: Array, a: Array, b: Array) -> float:
    """W2^2 along the unit circle: the least over s of the integral of |F^-1(u) - G^-1(u + s)|^2 over 0 < u < 1.

    F^-1 and G^-1 are the quantiles of angles that go on around the circle, G^-1(u + 1) = G^-1(u) + 2 pi. The integral
    is convex in s and linear between the s at which two levels meet: its minimum is enclosed to rounding.
    """
    first, second = np.argsort(angles), np.argsort(others)
    places, targets = angles[first], others[second]
    levels, goals = (np.append(np.cumsum(each)[:-1], 1.0) for each in (a[first], b[second]))

    def cost(shift: float) -> float:
        every = np.sort(np.concatenate([levels, (goals - shift) % 1.0, [1.0]]))
        lengths = np.diff(every, prepend=0.0)
        middle = every - lengths / 2
        around, level = np.divmod(middle + shift, 1.0)
        x = places[np.minimum(np.searchsorted(levels, middle), len(places) - 1)]
        y = targets[np.minimum(np.searchsorted(goals, level), len(targets) - 1)]
        return float(lengths @ np.square(x - y - 2.0 * np.pi * around))

    golden = (np.sqrt(5.0) - 1.0) / 2.0
    low, high = -2.0, 2.0  # nobody goes further than half around
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = cost(left), cost(right)
    while high - low > 1e-15:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = cost(right)
    return min(at_left, at_right)


def _exact(x: Array, a: Array, y: Array, b: Array, order: int, space: Sphere | None) -> float:
    if max(len(x), len(y)) > LARGEST_EXACT:
        raise InvalidInput(
            f"exact distances are for at most {LARGEST_EXACT} tokens, whose distances are all written out; "
            f'got {max(len(x), len(y))}: take method = "sliced"'
        )
    if space is None:
        from scipy.spatial.distance import cdist

        cost = cdist(x, y) if order == 1 else cdist(x, y, "sqeuclidean")
    else:
        cost = space.distance(x[:, None], y[None]) ** order
    if len(x) == len(y) and np.ptp(a) == np.ptp(b) == 0.0:
        from scipy.optimize import linear_sum_assignment

        return float(cost[linear_sum_assignment(cost)].mean())
    try:
        import ot
    except ImportError as error:
        raise MissingExtra(
            'distances of measures with other weights need POT: pip install "attndyn[transport]"'
        ) from error
    value, log = ot.emd2(a, b, cost, numItermax=10_000_000, log=True)
    if log.get("warning"):
        raise InvalidInput(f"the linear programme of the distance was not solved: {log['warning']}")
    return max(float(value), 0.0)
