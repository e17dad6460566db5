"""Tokens as the page draws them: two or three numbers each at every depth, in steps of 1/32767 of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...particles import Sphere
from ..excerpt import evenly
from .thinning import Choice, blocks

Array = NDArray[np.float64]

MOST_SAMPLED = 4_000_000  # numbers of which principal components are taken
GROWS = 20.0  # a run whose extent changes by more is shown at the size of each depth


@dataclass(frozen=True, eq=False)
class View:
    """Where the tokens are in the picture.

    kind      : "circle", "sphere", "plane", "space", "line" or "components"
    places    : (frames, tokens, 1 to 3), float64, about the centre of the picture
    extents   : (frames,), the largest finite coordinate of every frame
    axes      : the names of the coordinates
    radius    : of the circle or the sphere, else None
    sentence  : what is drawn
    """

    kind: str
    places: Array
    extents: Array
    axes: Sequence[str]
    radius: float | None
    sentence: str

    @property
    def grows(self) -> bool:
        """Whether one size of the picture would not do for all depths."""
        found = self.extents[self.extents > 0]
        return bool(len(found) and found.max() > GROWS * found.min())


def view_of(trajectory: Any, choice: Choice) -> View:
    """The coordinates of the tokens up to three, else the first three principal components of the whole run."""
    space, dimension = trajectory.space, trajectory.positions.shape[3]
    on_sphere = isinstance(space, Sphere)
    centre, directions, radius = np.zeros(dimension), None, None
    axes: Sequence[str] = [f"x{chr(0x2080 + k)}" for k in range(1, dimension + 1)] if dimension <= 3 else ()
    if dimension > 3:
        centre, directions, shares = _principal(trajectory, choice)
        axes = [f"PC{k + 1}" for k in range(len(directions))]
        kind = "components"
        each = ", ".join(f"{share:.0%}" for share in shares)
        sentence = (
            f"The first {len(shares)} principal components of the {dimension} coordinates over the whole run. They "
            f"hold {shares.sum():.0%} of the variance ({each}); what is near in the picture need not be near."
        )
    elif on_sphere:
        radius, kind = float(space.radius), "circle" if dimension == 2 else "sphere"
        sentence = f"Tokens on the {kind} of radius {radius:g}."
    else:
        kind = ("line", "plane", "space")[dimension - 1]
        sentence = (
            "Tokens on the line: their coordinate across, their number upwards."
            if dimension == 1
            else f"Tokens in R{'²³'[dimension - 2]}."
        )
    parts = []
    for _, part in blocks(trajectory, choice, choice.frames):
        rows = np.asarray(part[:, choice.tokens], np.float64) - centre
        parts.append(rows if directions is None else rows @ directions.T)
    places = np.concatenate(parts)
    if radius is None:
        if dimension <= 3:
            places -= _middle(places)
        sizes = np.abs(np.where(np.isfinite(places), places, 0.0))
        extents = sizes.max(axis=(1, 2))
    else:
        extents = np.full(len(places), radius)
    return View(kind, places, extents, list(axes), radius, sentence)


def _middle(places: Array) -> Array:
    """The middle of the box that holds the first frame; zero where it is near, so that the origin stays one."""
    first = places[0][np.isfinite(places[0]).all(axis=1)]
    if len(first) == 0:
        return np.zeros(places.shape[2])
    low, high = first.min(axis=0), first.max(axis=0)
    middle = 0.5 * (low + high)
    return np.where(np.abs(middle) > (high - low), middle, 0.0)


def _principal(trajectory: Any, choice: Choice) -> tuple[Array, Array, Array]:
    """Centre (dimension,), three directions (3, dimension) and their shares of the variance (3,).

    Of frames evenly over the run and the tokens shown, as many as MOST_SAMPLED allows; tokens count by weight.
    """
    from scipy.linalg import eigh

    dimension = trajectory.positions.shape[3]
    rows_allowed = max(200, MOST_SAMPLED // dimension)
    tokens = choice.tokens[evenly(len(choice.tokens), max(50, rows_allowed // 40))]
    weights = choice.weights[np.searchsorted(choice.tokens, tokens)]
    frames = choice.frames[evenly(len(choice.frames), max(2, min(40, rows_allowed // len(tokens))))]
    rows = np.concatenate([np.asarray(part[:, tokens], np.float64) for _, part in blocks(trajectory, choice, frames)])
    weight = np.tile(weights, len(rows))
    rows = rows.reshape(-1, dimension)
    finite = np.isfinite(rows).all(axis=1) & (np.abs(rows) < 1e150).all(axis=1)
    rows, weight = rows[finite], weight[finite]
    if len(rows) == 0 or not weight.sum() > 0:
        return np.zeros(dimension), np.eye(3, dimension), np.zeros(3)
    centre = weight @ rows / weight.sum()
    scaled = np.sqrt(weight)[:, None] * (rows - centre)
    if len(rows) > dimension:
        products = scaled.T @ scaled
        values, vectors = eigh(products, subset_by_index=(dimension - 3, dimension - 1))
        squares, found, total = values[::-1], vectors.T[::-1], float(np.trace(products))
    else:
        _, singular, found = np.linalg.svd(scaled, full_matrices=False)
        squares, total = np.square(singular), float(np.sum(np.square(singular)))
    directions, shares, count = np.eye(3, dimension), np.zeros(3), min(3, len(found))
    directions[:count] = found[:count]
    # the sign of a singular vector is arbitrary; this one does not change with the linear algebra library
    directions *= np.sign(directions[np.arange(3), np.abs(directions).argmax(axis=1)])[:, None]
    shares[:count] = squares[:count].clip(0.0) / total if total > 0 else 0.0
    return centre, directions, shares
