"""A layer run backwards: x + h f(x) = y solved for x by x <- y - h f(x), which converges where h Lip(f) < 1.

With q = h Lip(f), the distance to the solution after a step of length s is at most s q / (1 - q), in the norm of the
bound. In R^d; Lip(f) is that on a ball which holds all iterates, R = max|y_i| + h sup |f| over it, or for L2 attention
that on all of R^d. Source: arXiv:2006.04710 and, for residual networks, arXiv:1811.00995.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ComputationFailed, InvalidInput
from ..backends import Engine
from ..block import Block, Law, attention_of
from ..block_field import prepare
from ..ensemble import Ensemble
from ..space import Sphere
from .bounds import Bound, bounds
from .setting import setting

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Inverse:
    """The input of a layer, or of several.

    ensemble   : the tokens x                     iterations : of all layers together
    factor     : q, the largest of the layers, by which an iteration shrinks the error; measured where not `certified`
    error      : of x, at most, in the norm of the bound; rounding comes on top. Of one layer: of several that of the
                 first to be inverted is carried on by 1 / (1 - q) a layer
    certified  : whether q is that of a bound, and not only measured
    """

    ensemble: Ensemble
    iterations: int
    factor: float
    error: float
    certified: bool


def invert_layer(
    law: Law,
    output: Ensemble,
    step: float,
    *,
    layers: int = 1,
    certified: bool = True,
    tolerance: float = 1e-14,
    iterations: int = 1000,
    **engine: Any,
) -> Inverse:
    """The x with x + step attention(x) = y of one layer of a residual network in R^d, or of `layers` of them.

    output     : the tokens y                     step : h, of either sign
    certified  : whether a bound must say that h Lip < 1; without, the iteration is tried and q is measured
    tolerance  : relative to the largest |y_i|, of the last step of the iteration

    Raises InvalidInput for tokens on a sphere, whose layers forget lengths, or where the bound says h Lip >= 1 or there
    is none; ComputationFailed where the iteration does not converge.
    """
    if isinstance(output.space, Sphere):
        raise InvalidInput("a layer is inverted in R^d: on a sphere it is retracted, and lengths are forgotten")
    if not isinstance(step, (int, float, np.number)) or not np.isfinite(step):
        raise InvalidInput(f"step must be a finite number; got {step!r}")
    if not isinstance(layers, (int, np.integer)) or layers < 1:
        raise InvalidInput(f"layers must be an integer of at least 1; got {layers!r}")
    x = np.array(output.positions, np.float64)
    weights: Any = output.weights
    field = prepare(law, output.space, weights, x.shape, np.float64, Engine(**engine))
    f, taken, largest, error = np.empty_like(x), 0, 0.0, 0.0
    for _ in range(layers):
        y, size = x.copy(), float(np.linalg.norm(x, axis=-1).max())
        factor = abs(step) * _lipschitz(law, output.at(y), step).value if certified else 0.0
        moved = before = np.inf
        for iteration in range(1, iterations + 1):
            field.attention(0.0, x, f)
            following = y - step * f
            with np.errstate(over="ignore", invalid="ignore"):
                before, moved = moved, float(np.linalg.norm(following - x))
            if not np.isfinite(moved):
                break
            x = following
            if not certified and iteration > 1 and before > 1e3 * tolerance * size:
                factor = max(factor, moved / before)
            if moved <= tolerance * size or (moved >= before and moved <= 1e2 * tolerance * size):
                break
        else:
            moved = np.inf
        if not moved <= 1e2 * tolerance * size or (not certified and factor >= 1.0):
            raise ComputationFailed(
                f"the layer was not inverted: an iteration still moves tokens by {moved:.3g}; take a smaller step"
            )
        taken, largest = taken + iteration, max(largest, factor)
        error = (error + moved * factor) / (1.0 - factor)
    return Inverse(output.at(x), taken, largest, error, certified)


def _lipschitz(law: Law, output: Ensemble, step: float) -> Bound:
    """The smallest bound, in the norm of tokens, where all iterates are. Raises InvalidInput unless h Lip < 1."""
    if isinstance(law, Block) and (law.feed_forward is not None or law.norm not in ("none", "post")):
        raise InvalidInput("a certified inverse is that of attention; give certified = False for a block")
    attention = attention_of(law)
    weights = np.asarray(output.weights, np.float64)
    if weights.ndim == 2:
        if (weights != weights[0]).any():
            raise InvalidInput("a certified inverse needs the same weights in all replicas")
        weights = weights[0]
    radius = _radius(law, output, step)
    anywhere = attention.score.distant
    found = bounds(
        attention, output.space, tokens=output.tokens, radius=None if anywhere else radius, weights=weights,
        of="attention",
    )  # fmt: skip
    usable = [each for each in found if each.norm == "euclidean" or (each.norm == "measure" and np.ptp(weights) == 0)]
    if not usable:
        raise InvalidInput("a certified inverse needs a bound in the norm of tokens, and this law has none")
    best = min(usable, key=lambda each: each.value)
    if abs(step) * best.value >= 1.0:
        raise InvalidInput(
            f"step * Lip must be below 1 for the iteration to be sure of converging; got {abs(step) * best.value:.4g} "
            f"(Lip <= {best.value:.4g}, the bound {best.name}); take a smaller step, or certified = False"
        )
    return best


def _radius(law: Law, output: Ensemble, step: float) -> float | None:
    """The radius of a ball that holds all iterates: R = max |y_i| + h sup |f| over it."""
    attention = attention_of(law)
    if attention.score.distant:
        return None
    here = setting(attention, output.space, 1.0, None, None)
    start = float(np.linalg.norm(output.positions, axis=-1).max())
    radius = start
    for _ in range(1000):
        with np.errstate(over="ignore"):
            larger = start + abs(step) * here.largest(radius)
        if not larger <= 1e6 * (start + 1.0):
            break
        if larger <= radius * (1.0 + 1e-12):
            return larger
        radius = larger
    raise InvalidInput("step must be smaller: no ball holds all iterates, whose attention grows with it")
