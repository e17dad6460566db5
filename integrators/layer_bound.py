"""By how much one layer brings two ensembles nearer, at most: from the Lipschitz bounds of its attention.

With L = Lip(f) on a ball of radius R, F = the largest |f| on it, h the step, u the injected input:

    R^d, x <- h f(x) + u         h L, on the ball with max|u_i| + h F(R) <= R, which a layer maps to itself:
                                 R = max|u_i| / (1 - h |V|); without u, on that of the tokens, if h |V| <= 1
    R^d, x <- x + h f(x) + u     1 + h L at most: never below 1
    sphere of radius R           (s + h L) R / m, with m = max(min|u_i| - s R - h F, s R - h F - max|u_i|) > 0 the
                                 least length before the retraction, s = 1 with the residual connection, else 0

Below 1 there is one fixed point, and every start leads to it (Banach). Without u in R^d it is trivial, all tokens at
the origin, for a measure at one point stays at one point: h |V| < 1 suffices, since then the largest |x_i| shrinks by
it. The bound is then that of W1 between measures where the law has one. Source: arXiv:2007.02876.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..particles.attention import Attention
from ..particles.block import Block, Law, attention_of
from ..particles.ensemble import Ensemble
from ..particles.regularity.bounds import Bound, bounds
from ..particles.regularity.setting import Setting, setting
from ..particles.space import Euclidean, Sphere
from .layer_map import as_injection

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LayerBound:
    """An upper bound of the Lipschitz constant of one layer.

    value  : |layer(X) - layer(Y)| <= value |X - Y|, in the norm named `norm`: "euclidean", "measure", "max" or "W1"
    radius : of the ball it is for, which a layer maps to itself; inf for all of R^d
    """

    name: str
    value: float
    norm: str
    radius: float
    hypotheses: tuple[str, ...]
    source: str

    def size(self, change: Array, weights: Array) -> float:
        """|change| in this norm; for W1 the mean of |change_i|, which is at least the distance moved.

        change : (1, tokens, dimension)      weights : (tokens,)
        """
        lengths = np.linalg.norm(change[0], axis=-1)
        if self.norm == "max":
            return float(lengths.max())
        if self.norm == "W1":
            return float(weights @ lengths)
        return float(np.sqrt(weights @ lengths**2)) if self.norm == "measure" else float(np.linalg.norm(lengths))


def layer_bound(
    law: Law, ensemble: Ensemble, *, step: float = 1.0, residual: bool = False, injection: ArrayLike | None = None
) -> LayerBound:
    """The smallest bound that the theory has for one layer of step h on the tokens of an ensemble of one replica.

    injection : u, (tokens, dimension), or None

    Raises InvalidInput, which says the hypothesis that fails, where there is none.
    """
    if ensemble.replicas != 1:
        raise InvalidInput(f"ensemble must have one replica; got {ensemble.replicas}")
    u = None if injection is None else as_injection(injection, ensemble.positions.shape)
    if isinstance(law, Block) and not law.is_attention:
        raise InvalidInput(
            "the bounds are those of attention: this block has a feed-forward map or normalisation as well"
        )
    with np.errstate(over="ignore"):  # beyond float64 a bound is inf
        return _of_attention(attention_of(law), ensemble, step, residual, u)


def _of_attention(attention: Attention, ensemble: Ensemble, step: float, residual: bool, u: Array | None) -> LayerBound:
    weights = np.ravel(np.asarray(ensemble.weights, np.float64))
    lengths = np.zeros(1) if u is None else np.linalg.norm(u[0], axis=-1)
    if isinstance(ensemble.space, Sphere):
        return _on_sphere(attention, ensemble.space, weights, step, residual, lengths)
    if residual:
        raise InvalidInput("a layer x + h f(x) + u of R^d has the bound 1 + h Lip(f), which is never below 1")
    here = setting(attention, ensemble.space, 1.0, ensemble.tokens, weights)
    if here.largest(0.0) == 0.0 and not lengths.any():
        return _to_the_origin(here, ensemble, step)
    radius = None
    if not attention.score.distant:
        radius = _invariant(here, float(lengths.max()), step)
    best = _least(attention, ensemble.space, weights, radius)
    hypotheses = (*best.hypotheses, "a layer maps the ball to itself") if radius else best.hypotheses
    return LayerBound(best.name, step * best.value, best.norm, radius or np.inf, hypotheses, best.source)


def _on_sphere(
    law: Attention, sphere: Sphere, weights: Array, step: float, residual: bool, lengths: Array
) -> LayerBound:
    # on the ball and not on the sphere: the segment between two points of the sphere leaves it
    radius, around = sphere.radius, Euclidean(sphere.dimension)
    reach = step * setting(law, around, radius, len(weights), weights).largest(radius)
    kept = radius if residual else 0.0
    least = max(float(lengths.min()) - kept - reach, kept - reach - float(lengths.max()))
    if least <= 0.0:
        raise InvalidInput(
            f"before the retraction a token may be at the origin, near which the retraction has no Lipschitz constant: "
            f"|u_i| is from {lengths.min():.4g} to {lengths.max():.4g}, h |f| up to {reach:.4g}, the residual {kept:g}"
        )
    best = _least(law, around, weights, radius)
    value = (float(residual) + step * best.value) * radius / least
    hypotheses = (*best.hypotheses, f"|x_i| >= {least:.4g} before the retraction")
    return LayerBound(best.name, value, best.norm, radius, hypotheses, best.source)


def _to_the_origin(here: Setting, ensemble: Ensemble, step: float) -> LayerBound:
    radius = float(np.linalg.norm(ensemble.positions, axis=-1).max())
    grown = step * here.largest(1.0)
    if here.law.normalisation.name == "none" or grown > 1.0:
        raise InvalidInput(
            f"no ball is mapped to itself: h |V| = {grown:.4g} must be at most 1, and rows must sum to 1"
        )
    if radius == 0.0:
        raise InvalidInput("all tokens are at the origin, which is a fixed point: there is no ball to speak of")
    assert here.weights is not None
    best = _least(here.law, here.space, here.weights, radius, first="W1")
    hypotheses = (*best.hypotheses, "no input and no bias", "h |V| <= 1, so that a layer maps the ball to itself")
    return LayerBound(best.name, step * best.value, best.norm, radius, hypotheses, best.source)


def _least(
    law: Attention, space: Any, weights: NDArray[np.floating], radius: float | None, first: str | None = None
) -> Bound:
    """The smallest bound in a norm of tokens, or the one with a name where it is there."""
    found = bounds(law, space, tokens=len(weights), radius=radius, weights=weights, of="attention")
    named = [each for each in found if each.name == first]
    # a token of weight zero is not seen by the norm of the measure
    norms = ("euclidean", "max", "measure") if (weights > 0).all() else ("euclidean", "max")
    usable = named or [each for each in found if each.norm in norms]
    if not usable:
        raise InvalidInput("the bounds of this law are not in a norm of tokens")
    return min(usable, key=lambda each: each.value)


def _invariant(here: Setting, injected: float, step: float) -> float:
    """The radius R with injected + h F(R) <= R. Raises InvalidInput where there is none."""
    if here.law.normalisation.name == "none":
        return _climbed(here, injected, step)
    output = 1.0 if here.law.output is None else float(np.linalg.norm(here.law.output, 2))
    slope = step * output * float(np.linalg.norm([head.value for head in here.heads]))
    if slope >= 1.0:
        raise InvalidInput(f"no ball is mapped to itself: h |V| must be below 1; got {slope:.4g}")
    return (injected + step * here.largest(0.0)) / (1.0 - slope)


def _climbed(here: Setting, injected: float, step: float) -> float:
    radius = injected
    for _ in range(10_000):
        larger = injected + step * here.largest(radius)
        if larger <= radius * (1.0 + 1e-13):
            return radius * (1.0 + 1e-13)
        if not larger <= 1e6 * (injected + 1.0):
            break
        radius = larger
    raise InvalidInput("no ball is mapped to itself: the attention without normalisation grows beyond every one")
