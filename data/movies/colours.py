"""The colours of tokens in a movie: a cluster of theirs, their place at the start, or the depth."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgba_array
from numpy.typing import NDArray

from ...particles import Ensemble, Sphere
from ...particles.observables import cluster_labels
from ..excerpt import affordable, cluster_distance_of, read_frame
from .clock import Clock

Array = NDArray[np.float64]

COLOURS = ("cluster", "depth", "start")
# Okabe and Ito's, readable by the colour-blind, in the order of figures; and grey for whoever is in no large cluster
CLUSTERS = to_rgba_array(["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"])
ALONE = to_rgba_array("0.6")[0]
SHADES = 24  # of the place at the start
LOOKS = 60  # at clusters
LEAST_TOLD = 0.3  # nats that clusters must tell of the tokens to give them their colours


def colours_of(
    trajectory: Any, replica: int, tokens: NDArray[np.intp], clock: Clock, colour: str, starts: Array
) -> tuple[Array | None, str]:
    """Colours (tokens, 4) and what they mean, in words; None where a token's colour is that of the depth.

    colour : "cluster", the clusters at the depth where the largest ones tell most of the tokens, where that is
             anything; "start", the first coordinate of `starts` (tokens, dimension), on the circle the angle; "depth"
    """
    if colour == "depth":
        return None, "coloured by depth"
    if colour == "cluster":
        labels, depth = _telling_clusters(trajectory, replica, tokens, clock)
        if labels is not None:
            return np.concatenate([CLUSTERS, ALONE[None]])[labels], f"coloured by the clusters at depth {depth:.4g}"
    circle = isinstance(trajectory.space, Sphere) and trajectory.space.dimension == 2
    place = np.arctan2(starts[:, 1], starts[:, 0]) if circle else starts[:, 0]
    rank = np.argsort(np.argsort(np.nan_to_num(place), kind="stable"), kind="stable") / max(len(place) - 1, 1)
    rank = np.round(rank * (SHADES - 1)) / (SHADES - 1)
    return matplotlib.colormaps["viridis"](0.86 - 0.83 * rank), "coloured by place at the start"


def _telling_clusters(
    trajectory: Any, replica: int, tokens: NDArray[np.intp], clock: Clock
) -> tuple[NDArray[np.intp] | None, float]:
    """For each token the number of its cluster, from the largest on, len(CLUSTERS) where it is in no large one.

    At the depth where sum_c p_c * sum_c -p_c log p_c over the largest clusters of several tokens, with p_c the share
    of the tokens, is largest; None where it is small at all depths: neither one cluster of all nor single tokens tell
    anything.
    """
    shares = np.linspace(0.0, 1.0, min(LOOKS, affordable(trajectory, LOOKS)))
    frames = np.unique(np.abs(clock.shares(trajectory.times)[None] - shares[:, None]).argmin(axis=1))
    distance = cluster_distance_of(trajectory)
    best: NDArray[np.intp] | None = None
    most, where = LEAST_TOLD, 0.0
    for frame in frames.tolist():
        positions = read_frame(trajectory, frame, replica, tokens)
        if not np.isfinite(positions).all():
            continue
        labels = cluster_labels(Ensemble(positions[None], trajectory.space), distance)[0]
        sizes = np.bincount(labels)
        order = np.argsort(-sizes, kind="stable")
        largest = sizes[order[: len(CLUSTERS)]]
        part = largest[largest > 1] / len(tokens)
        told = float(-part.sum() * (part * np.log(part)).sum())
        if told > most + 1e-9:
            rank = np.empty(len(order), np.intp)
            rank[order] = np.minimum(np.arange(len(order)), len(CLUSTERS))
            rank[sizes == 1] = len(CLUSTERS)
            best, most, where = rank[labels], told, float(trajectory.times[frame])
    return best, where
