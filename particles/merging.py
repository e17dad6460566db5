"""Tokens that have met become one, with the sum of their weights: a law without a mask does not see the difference.

Two copies of a token with weights a and b act, and move, as one with weight a + b (duplication invariance), so a
cluster of thousands of tokens need not be computed thousands of times. The error is of the order of the distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .attention import Attention
from .ensemble import Ensemble

Labels = NDArray[np.intp]
CROWDED = 64  # pairs of tokens of two cells from which a tree is faster than all of them


def check_mergeable(law: Attention, ensemble: Ensemble) -> None:
    """Raise InvalidInput unless tokens of this ensemble, under this law, may become one."""
    if law.mask.name != "none":
        raise InvalidInput(f"merge needs a law without a mask, which sees which token is which; got {law.mask.name}")
    if law.prior is not None or law.rotary is not None:
        raise InvalidInput(
            "merge needs a law without prior and without rotary positions, which see which token is which"
        )
    if law.multipliers is not None:
        raise InvalidInput("merge needs a law without multipliers, which every token has of its own")
    if not law.normalisation.splits:
        raise InvalidInput(
            f"merge needs a law for which two tokens are one of both weights; got {law.normalisation.name}"
        )
    if ensemble.replicas != 1:
        raise InvalidInput(f"merge needs a single replica, whose tokens become fewer; got {ensemble.replicas}")


class Plateau(NamedTuple):
    """Depths between which the number of clusters stays: from `start` on, up to `end`."""

    start: float
    end: float
    clusters: int


def plateaus(
    times: NDArray[np.float64], merged_into: NDArray[np.integer], end: float, ratio: float = 1.0
) -> list[Plateau]:
    """The depths between merges, of those that last: end >= ratio * start, ratio > 1 leaving out the quick succession.

    times (merges,), merged_into (merges, tokens), end : as a trajectory has them in `merges`, and the depth of its end
    """
    starts = [0.0, *np.asarray(times, np.float64).tolist()]
    counts = [np.shape(merged_into)[1], *(len(np.unique(groups)) for groups in merged_into)]
    ends = [*starts[1:], float(end)]
    found = (Plateau(*each) for each in zip(starts, ends, counts, strict=True))
    return [plateau for plateau in found if plateau.end > plateau.start and plateau.end >= ratio * plateau.start]


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
    assert ensemble.weights is not None  # an Ensemble fills them in
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

    x : (tokens, dimension). Only tokens that have a neighbour that near along one direction are looked at; those in
    one cell of a grid, whose diagonal is `distance`, are joined at once; then cells are.
    """
    tokens, dimension = x.shape
    labels = np.arange(tokens)
    candidates = _near_in_projection(x, distance)
    if len(candidates) == 0:
        return labels
    near = x[candidates]
    grid = np.floor((near - near.min(axis=0)) * (np.sqrt(dimension) / distance))
    cell = np.unique(grid, axis=0, return_inverse=True)[1].ravel()
    component = _joined_cells(near, cell, distance)[cell]
    # the label of a group is for now the number of its first token
    earliest = np.full(component.max() + 1, tokens)
    np.minimum.at(earliest, component, candidates)
    labels[candidates] = earliest[component]
    return np.unique(labels, return_inverse=True)[1].ravel()


def _joined_cells(x: NDArray[np.float64], cell: Labels, distance: float) -> Labels:
    """The component of each cell: two are joined where a token of one is within `distance` of a token of the other."""
    from scipy.spatial import KDTree  # takes a while to import

    order = np.argsort(cell, kind="stable")
    sizes = np.bincount(cell)
    starts = np.cumsum(sizes) - sizes
    first = x[order[starts]]
    # a cell is no wider than `distance`: of cells further apart than three no tokens can be near
    reach = distance if sizes.max() == 1 else 3.0 * distance
    pairs = KDTree(first).query_pairs(reach, output_type="ndarray")
    near = np.linalg.norm(first[pairs[:, 0]] - first[pairs[:, 1]], axis=1) <= distance
    component = _components(len(sizes), pairs[near])
    undecided = pairs[~near & (component[pairs[:, 0]] != component[pairs[:, 1]])]
    products = sizes[undecided].prod(axis=1)
    joins = [pairs[near], _with_near_tokens(x, order, starts, sizes, undecided[products <= CROWDED], distance)]
    for left, right in undecided[products > CROWDED]:
        a, b = (x[order[starts[cell] : starts[cell] + sizes[cell]]] for cell in (left, right))
        if KDTree(a).query(b)[0].min() <= distance:
            joins.append(np.array([[left, right]]))
    return _components(len(sizes), np.concatenate(joins))


def _with_near_tokens(
    x: NDArray[np.float64], order: Labels, starts: Labels, sizes: Labels, pairs: Labels, distance: float
) -> Labels:
    """Those of the pairs of cells (pairs, 2) that hold a pair of tokens within `distance`."""
    kept = []
    for chunk in np.array_split(pairs, max(1, len(pairs) * CROWDED // 10**6)):
        counts = sizes[chunk].prod(axis=1)
        pair = np.repeat(np.arange(len(chunk)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = sizes[chunk[pair, 1]]
        left = order[starts[chunk[pair, 0]] + within // columns]
        right = order[starts[chunk[pair, 1]] + within % columns]
        close = np.linalg.norm(x[left] - x[right], axis=1) <= distance
        kept.append(chunk[np.unique(pair[close])])
    return np.concatenate(kept)


def _components(size: int, pairs: NDArray[np.intp]) -> Labels:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1]


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
