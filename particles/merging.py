"""Tokens that have met become one, with the sum of their weights: a law without a mask does not see the difference.

Two copies of a token with weights a and b act, and move, as one with weight a + b (duplication invariance), so a
cluster of thousands of tokens need not be computed thousands of times. The error is of the order of the distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .attention import Attention
from .ensemble import Ensemble

Labels = NDArray[np.intp]


def check_mergeable(law: Attention, ensemble: Ensemble) -> None:
    """Raise InvalidInput unless tokens of this ensemble, under this law, may become one."""
    if law.mask != "none":
        raise InvalidInput(f"merge needs a law without a mask, which sees which token is which; got {law.mask}")
    if ensemble.replicas != 1:
        raise InvalidInput(f"merge needs a single replica, whose tokens become fewer; got {ensemble.replicas}")


def merged(ensemble: Ensemble, distance: float) -> tuple[Ensemble, Labels]:
    """The ensemble with tokens joined that are linked by steps of at most `distance`, and who went where.

    ensemble : one replica       returns the joined ensemble and labels (tokens,): the row of each token in it

    Rows stand in the order of their first tokens; a row lies at the weighted mean of its tokens, retracted. Takes
    O(n log n). Distances are straight lines, also on a sphere.
    """
    x = np.asarray(ensemble.positions[0], np.float64)
    labels = groups(x, distance)
    count = int(labels.max()) + 1
    if count == len(labels):
        return ensemble, labels
    weights = np.broadcast_to(ensemble.weights, (1, len(x)))[0]
    total = np.bincount(labels, weights, count)
    shares = np.where(total[labels] > 0, weights, 1.0)  # tokens of no weight at all: their plain mean
    sums = np.stack([np.bincount(labels, shares * component, count) for component in x.T], axis=-1)
    rows = ensemble.space.retract(sums / np.bincount(labels, shares, count)[:, None])
    alone = np.bincount(labels) == 1
    rows[alone] = x[alone[labels]]  # not a bit of a token changes that met nobody
    return Ensemble(rows.astype(ensemble.positions.dtype)[None], ensemble.space, total / total.sum()), labels


def groups(x: NDArray[np.float64], distance: float) -> Labels:
    """The components of the graph that joins tokens at most `distance` apart, (tokens,), in order of appearance.

    x : (tokens, dimension). Only tokens whose neighbour along one direction is that near are looked at; tokens in
    one cell of a grid, whose diagonal is `distance`, are joined at once; the cells are joined by a k-d tree.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree  # both take a while to import

    tokens, dimension = x.shape
    labels = np.arange(tokens)
    candidates = _near_in_projection(x, distance)
    if len(candidates) == 0:
        return labels
    near = x[candidates]
    cells = np.floor((near - near.min(axis=0)) * (np.sqrt(dimension) / distance))
    _, first, cell = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    pairs = KDTree(near[first]).query_pairs(distance, output_type="ndarray")
    size = len(first)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    component = connected_components(graph, directed=False)[1][cell.ravel()]
    # the label of a group is for now the number of its first token
    earliest = np.full(component.max() + 1, tokens)
    np.minimum.at(earliest, component, candidates)
    labels[candidates] = earliest[component]
    return np.unique(labels, return_inverse=True)[1].ravel()


def _near_in_projection(x: NDArray[np.float64], distance: float) -> NDArray[np.intp]:
    """The tokens that have another within `distance` along one fixed direction: all that may have one at all."""
    direction = np.cos(1.0 + 1.7 * np.arange(x.shape[1]))
    along = x @ (direction / np.linalg.norm(direction))
    order = np.argsort(along, kind="stable")
    # what rounding may add to a difference of projections
    room = distance + 8 * np.finfo(np.float64).eps * np.abs(along).max(initial=0.0)
    beside = np.diff(along[order]) <= room
    chosen = np.zeros(len(x), bool)
    chosen[order[:-1][beside]] = True
    chosen[order[1:][beside]] = True
    return np.flatnonzero(chosen)
