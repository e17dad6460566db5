"""Similarity of tokens over depth as a ridge: a histogram of their inner products at each of many depths."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...particles import Sphere
from ..excerpt import read_frame, sample, weights_of
from .look import Look, Sheet
from .panels import STEPS, edges_of, number, pair_products, pair_weights, scale_products

MOST_ROWS = 28
MOST_NAMED = 8  # rows whose depth is written
MOST_COMPARED = 600  # tokens between which inner products are taken: 180 thousand pairs a row
OVERLAP = 2.6  # rows that the highest histogram covers


def draw_ridge(look: Look) -> Sheet:
    """Histograms of the inner products of distinct tokens, cosines on a sphere, each to its own height.

    Rows follow one another along the scale of depth, the first on top; source: the figures of ALBERT in
    arXiv:2312.10794. A pair counts with the product of its weights.
    """
    sphere = isinstance(look.space, Sphere)
    weights = weights_of(look.trajectory, look.replica)
    tokens = sample(weights, MOST_COMPARED)
    frames = look.frames if look.chosen is not None else look.spread(MOST_ROWS)
    products = [
        pair_products(read_frame(look.trajectory, int(frame), look.replica, tokens), sphere) for frame in frames
    ]
    edges, width = edges_of(products, sphere)
    counted = pair_weights(weights[tokens])
    figure = Figure(figsize=(4.2, 1.3 + 0.12 * len(frames)))
    axes = figure.subplots()
    for row, (values, colour) in enumerate(zip(products, look.scale.colours(look.times[frames]), strict=True)):
        counts = np.histogram(values, edges, weights=counted)[0]
        heights = OVERLAP * counts / max(counts.max(), np.finfo(float).tiny)
        axes.axhline(-row, color="0.8", linewidth=0.4, zorder=row - 0.5)
        axes.stairs(-row + heights, edges, baseline=-row, fill=True, color=colour, alpha=0.85, zorder=row)
        axes.stairs(-row + heights, edges, baseline=-row, color="white", linewidth=0.6, zorder=row + 0.5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-len(frames) + 0.7, OVERLAP + 0.15)
    axes.set_xlabel(r"$\cos(x_i, x_j)$" if sphere else r"$\langle x_i, x_j \rangle$")
    axes.set_title("cosines of pairs of tokens" if sphere else "inner products of pairs of tokens")
    if width:
        scale_products(axes, edges, width)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    _name_rows(axes, look.times[frames])
    few = [f"pairs of {len(tokens)} tokens"] if len(tokens) < np.count_nonzero(weights > 0) else []
    return Sheet(figure, few)


def _name_rows(axes: Axes, times: NDArray[np.float64]) -> None:
    named = np.arange(len(times))[:: max(1, -(-len(times) // MOST_NAMED))]
    axes.set_yticks(0.12 - named, [f"$t = {number(time)}$" for time in times[named]])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
