"""Upper bounds of the Lipschitz constant of an attention law, with their hypotheses; docs/regularity.md derives them.

Notation: r = |beta K^T Q| R^2 (plus |beta K^T b_q| R) for n tokens in the ball of radius R, |.| the spectral norm, and
M = W0((1 - a) / (a e)) with Lambert's W0 and a the smallest weight, (n - 1)/e for equal ones.

    softmax    |V| (kappa (1 + r) + r)                      kappa^2 = min(n, e^2r max_j sum_i P0_ij), P0 at zero scores
    castin     sqrt(3) |V| (r^2 (4 n + 1) + n)^(1/2)        and, for any number of tokens, |V| (1 + 3 r) e^(2r)
    l2         |V| (sqrt(n) (1 + 2 M) + 2 M), on all of R^d; in the largest token's norm |V| (1 + 4 M); kim's is
               |V| sqrt(n) (1 + 4 M)
    unnormalised   |V| e^(r - shift) (1 + 2 r)
    W1         |V| (r + (1 + 2 r) e^(2r)), of measures on the ball

On a sphere of radius R the drift P_x f has |f| / R more than f. Norms: "euclidean" is (sum_i |x_i|^2)^(1/2), "measure"
is (sum_i a_i |x_i|^2)^(1/2), and a bound in it that knows no number of tokens is one in W2 as well, "max" is
max_i |x_i|, "W1" is that of measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput
from ..block import Block, Law
from ..space import Euclidean, Space
from .jacobian import Of
from .setting import Head, Setting, setting

Array = NDArray[np.floating]
TIED = 1e-12  # relatively, by which query and key may differ
FACTORED = 1e-9  # and the values from what is a function of the queries


@dataclass(frozen=True)
class Bound:
    """An upper bound of a Lipschitz constant.

    value      : |F(X) - F(Y)| <= value |X - Y| in the norm named `norm`
    norm       : "euclidean", "measure", "max" or "W1"; see the module
    of         : "attention", the map X -> f(X), or "drift", its tangential part on a sphere
    hypotheses : what was checked, or is asked of the tokens
    source     : where it is from
    """

    name: str
    value: float
    norm: str
    of: Of
    hypotheses: tuple[str, ...]
    source: str


def bounds(
    law: Law,
    space: Space,
    *,
    tokens: int | None = None,
    radius: float | None = None,
    weights: ArrayLike | None = None,
    of: Of = "drift",
) -> tuple[Bound, ...]:
    """All bounds that hold for a law, by `BOUNDS`; in R^d the drift is the attention.

    tokens  : how many there are; left out, the bounds are those for any number
    radius  : in R^d, the tokens are in the ball of this radius; left out, anywhere
    weights : (tokens,), by default equal

    Raises InvalidInput with every bound's reason where none holds, or for arguments out of range.
    """
    here = _setting(law, space, tokens, radius, weights)
    found, reasons = [], []
    for name, function in BOUNDS.items():
        try:
            found.append(_evaluated(function, here, of))
        except InvalidInput as reason:
            reasons.append(f"{name}: {reason}")
    if not found:
        raise InvalidInput("no bound holds for this law: " + "; ".join(reasons))
    return tuple(found)


def bound(
    name: str,
    law: Law,
    space: Space,
    *,
    tokens: int | None = None,
    radius: float | None = None,
    weights: ArrayLike | None = None,
    of: Of = "drift",
) -> Bound:
    """One bound by its name in `BOUNDS`; arguments as for `bounds`.

    Raises InvalidInput for an unknown name, or with the hypothesis that does not hold.
    """
    if name not in BOUNDS:
        raise InvalidInput(f"bound must be one of {', '.join(BOUNDS)}; got {name!r}")
    here = _setting(law, space, tokens, radius, weights)
    return _evaluated(BOUNDS[name], here, of)


def softmax_of_many(law: Law, dimension: int, tokens: ArrayLike, radii: ArrayLike) -> Array:
    """The bound "softmax" of attention in R^d for several numbers of tokens of equal weight, each in a ball of its own.

    tokens, radii : (points,), as the result; the sizes of the matrices are computed once
    Raises InvalidInput with the hypothesis that does not hold.
    """
    here = _setting(law, Euclidean(dimension), None, 1.0, None)
    each = zip(np.asarray(tokens).tolist(), np.asarray(radii, np.float64).tolist(), strict=True)
    of_each = (replace(here, tokens=count, radius=radius) for count, radius in each)
    return np.array([_evaluated(softmax, one, "attention").value for one in of_each])


def softmax(here: Setting, of: Of) -> Bound:
    """|V| (kappa (1 + r) + r), kappa^2 = min(n, e^2r max_j sum_i P0_ij): any mask and prior."""
    _needs_softmax_of_products(here)
    here.count()
    return _softmax(here, of, measure=False)


def softmax_measure(here: Setting, of: Of) -> Bound:
    """The same in the norm of the measure, kappa^2 = e^2r max_j sum_i a_i P0_ij / a_j, or 1 / min a where that is less.

    Without mask and prior kappa = e^r, whatever the number of tokens.
    """
    _needs_softmax_of_products(here)
    return _softmax(here, of, measure=True)


def castin(here: Setting, of: Of) -> Bound:
    """sqrt(3) |V| (r^2 (4 n + 1) + n)^(1/2), of order sqrt(n) at every r."""
    _needs_softmax_of_products(here)
    n = here.count()
    each = [np.sqrt(3.0 * (here.reach(head) ** 2 * (4 * n + 1) + n)) for head in here.heads]
    return _on_ball("castin", here, of, here.combined(each), "euclidean", "arXiv:2312.14820", f"{n} tokens")


def castin_mean_field(here: Setting, of: Of) -> Bound:
    """|V| (1 + 3 r) e^(2r), whatever the number of tokens, in the norm of the measure."""
    _needs_softmax_of_products(here)
    _needs_nothing_of_places(here)
    each = [(1.0 + 3.0 * (r := here.reach(head))) * np.exp(2.0 * r) for head in here.heads]
    return _on_ball("castin-mean-field", here, of, here.combined(each), "measure", "arXiv:2312.14820")


def unnormalised(here: Setting, of: Of) -> Bound:
    """|V| e^(r - shift) (1 + 2 r) in the norm of the measure, whatever the number of tokens."""
    _needs_unnormalised(here)
    each = [np.exp((r := here.reach(head)) - here.law.shift) * (1.0 + 2.0 * r) for head in here.heads]
    return _on_ball("unnormalised", here, of, here.combined(each), "measure", "docs/regularity.md")


def l2(here: Setting, of: Of) -> Bound:
    """|W| |Q| (sqrt(n) (1 + 2 M) + 2 M) with V = W Q, on all of R^d and at every beta."""
    n, m = _needs_l2(here, of)
    return _anywhere("l2", here, of, np.sqrt(n) * (1.0 + 2.0 * m) + 2.0 * m, "euclidean", "docs/regularity.md")


def l2_max(here: Setting, of: Of) -> Bound:
    """|W| |Q| (1 + 4 M) with V = W Q, of max_i |x_i|."""
    _, m = _needs_l2(here, of)
    return _anywhere("l2-max", here, of, 1.0 + 4.0 * m, "max", "docs/regularity.md")


def kim(here: Setting, of: Of) -> Bound:
    """|W| |Q| sqrt(n) (1 + 4 M) with V = W Q: the form of theorem 3.2 of Kim, Papamakarios and Mnih."""
    n, m = _needs_l2(here, of)
    return _anywhere("kim", here, of, np.sqrt(n) * (1.0 + 4.0 * m), "euclidean", "arXiv:2006.04710")


def l2_wasserstein(here: Setting, of: Of) -> Bound:
    """|W| |Q| (n (1 + 2 M) + 2 M) with V = W Q: W1 of measures of n equal tokens anywhere in R^d."""
    n, m = _needs_l2(here, of)
    if not here.equal or here.law.mask.name != "none":
        raise InvalidInput("it needs tokens of equal weight, which are exchanged with one another, and no mask")
    return _anywhere("l2-W1", here, of, n * (1.0 + 2.0 * m) + 2.0 * m, "W1", "docs/regularity.md")


def wasserstein(here: Setting, of: Of) -> Bound:
    """|V| (r + (1 + 2 r) e^(2r)): W1(T mu, T nu) <= it W1(mu, nu) for all measures on the ball.

    Gaussian scores, with D = (|Q| + |K|) R: |V| (r + (1 + 2 R |K| min(beta D, sqrt(beta / e))) e^(beta D^2 / 2)).
    Without normalisation e^(r - shift) |V| (1 + 2 r). Below 1, T has one fixed point on a ball that it maps to itself.
    """
    law, radius = here.law, here.within()
    _needs_nothing_of_places(here)
    if law.normalisation.name == "none":
        _needs_unnormalised(here)
        inner, outer = [], [np.exp((r := here.reach(head)) - law.shift) * (1.0 + 2.0 * r) for head in here.heads]
    elif law.normalisation.name == "softmax" and law.score.name in ("dot", "scaled-dot"):
        inner = [here.reach(head) for head in here.heads]
        outer = [(1.0 + 2.0 * r) * np.exp(2.0 * r) for r in inner]
    elif law.normalisation.name == "softmax" and law.score.name in ("gaussian", "metric") and law.beta > 0:
        _needs_no_score_bias(here)
        inner = [head.form * radius**2 for head in here.heads]
        outer = [_gaussian(head, law.beta, radius) for head in here.heads]
    else:
        raise InvalidInput("it needs softmax of dot products or of gaussian scores, or unnormalised dot products")
    value = here.combined(outer) + (here.combined(inner) if inner else 0.0)
    return _on_ball("W1", here, of, value, "W1", "arXiv:2007.02876, with the constant of docs/regularity.md")


BOUNDS: dict[str, Callable[[Setting, Of], Bound]] = {
    "softmax": softmax,
    "softmax-measure": softmax_measure,
    "castin": castin,
    "castin-mean-field": castin_mean_field,
    "unnormalised": unnormalised,
    "l2": l2,
    "l2-max": l2_max,
    "kim": kim,
    "W1": wasserstein,
    "l2-W1": l2_wasserstein,
}


def _setting(law: Law, space: Space, tokens: int | None, radius: float | None, weights: ArrayLike | None) -> Setting:
    if isinstance(law, Block):
        if law.feed_forward is not None or law.norm not in ("none", "post"):
            raise InvalidInput(
                "bounds are those of attention; this block has a feed-forward map or normalisation as well"
            )
        law = law.attention
    if law.gate is not None or law.multipliers is not None or law.rotary is not None:
        raise InvalidInput("bounds are for laws without gate, multipliers and rotary positions")
    return setting(law, space, radius, tokens, None if weights is None else np.asarray(weights, np.float64))


def _evaluated(function: Callable[[Setting, Of], Bound], here: Setting, of: Of) -> Bound:
    """The bound, inf where it is beyond float64; in R^d there is no projection that would add to it."""
    if of not in ("drift", "attention"):
        raise InvalidInput(f'of must be "drift" or "attention"; got {of!r}')
    with np.errstate(over="ignore"):
        return function(here, of if here.sphere else "attention")


def _softmax(here: Setting, of: Of, measure: bool) -> Bound:
    most = np.inf
    if here.tokens is not None:
        most = float(here.tokens)
        if measure:
            weights = here.weights
            most = here.tokens if weights is None else 1.0 / weights[weights > 0].min()
    crowding, each = here.crowding(measure), []
    for head in here.heads:
        r = here.reach(head)
        each.append(np.sqrt(min(most, crowding * np.exp(2.0 * r))) * (1.0 + r) + r)
    norm = "measure" if measure else "euclidean"
    count = () if here.tokens is None else (f"{here.tokens} tokens",)
    name = "softmax-measure" if measure else "softmax"
    return _on_ball(name, here, of, here.combined(each), norm, "docs/regularity.md", *count)


def _gaussian(head: Head, beta: float, radius: float) -> float:
    """sup |f_mu - f_nu| / W1 for V = I: the kernel is above exp(-beta D^2 / 2), its slope below |K| min(...)."""
    apart = (head.query + head.key) * radius
    slope = head.key * min(beta * apart, np.sqrt(beta / math.e))
    return float((1.0 + 2.0 * radius * slope) * np.exp(0.5 * beta * apart**2))


def _on_ball(name: str, here: Setting, of: Of, value: float, norm: str, source: str, *further: str) -> Bound:
    radius = here.within()
    where = f"|x_i| {'=' if here.sphere else '<='} {radius:g}"
    if of == "drift":
        value += here.largest(radius) / radius
    return Bound(name, float(value), norm, of, (where, *further), source)


def _anywhere(name: str, here: Setting, of: Of, constant: float, norm: str, source: str) -> Bound:
    """The constant times |W| |Q|, of all heads together as in `Setting.combined`."""
    output = here.law.output
    parts = [_factored(here, head) for head in range(here.law.heads)]
    size = 1.0 if output is None else float(np.linalg.norm(output, 2))
    beside = size * float(np.linalg.norm([np.linalg.norm(w, 2) * query for w, query in parts]))
    blocks = [None] * len(parts) if output is None else np.split(output, len(parts), axis=1)
    apart = sum(
        float(np.linalg.norm(w if o is None else o @ w, 2)) * query for o, (w, query) in zip(blocks, parts, strict=True)
    )
    value = constant * min(beside, apart)
    if of == "drift":
        radius = here.within()
        value += here.largest(radius) / radius
    hypotheses = (f"{here.count()} tokens", "query = key", "value = W query", "every token sees itself")
    return Bound(name, float(value), norm, of, hypotheses, source)


def _factored(here: Setting, head: int) -> tuple[Array, float]:
    """W of a head with V = W Q, and |Q|. Raises InvalidInput where there is none: then it has no constant on R^d."""
    p = here.law.projections(here.space.dimension)
    value = p.value_scale * np.eye(here.space.dimension) if p.value is None else p.value[head]
    if p.query is None:
        return value, 1.0
    factor = value @ np.linalg.pinv(p.query[head])
    if np.abs(factor @ p.query[head] - value).max() > FACTORED * np.abs(value).max():
        raise InvalidInput("the values must be a function of the queries, V = W Q: else it is not Lipschitz on R^d")
    return factor, here.heads[head].query


def _needs_softmax_of_products(here: Setting) -> None:
    law = here.law
    if law.normalisation.name != "softmax" or law.score.name not in ("dot", "scaled-dot"):
        raise InvalidInput(f"it needs softmax of dot products; got {law.normalisation.name} of {law.score.name}")
    here.within()


def _needs_unnormalised(here: Setting) -> None:
    law = here.law
    if law.normalisation.name != "none" or law.score.name not in ("dot", "scaled-dot"):
        raise InvalidInput(f"it needs unnormalised dot products; got {law.normalisation.name} of {law.score.name}")
    if law.prior is not None or law.value_bias is not None:
        raise InvalidInput("it needs a law without prior and without bias of the values")
    _needs_no_score_bias(here)


def _needs_no_score_bias(here: Setting) -> None:
    if here.law.query_bias is not None or here.law.key_bias is not None:
        raise InvalidInput("it needs queries and keys without bias")


def _needs_nothing_of_places(here: Setting) -> None:
    if here.law.mask.name != "none" or here.law.prior is not None:
        raise InvalidInput("it needs a law without mask and prior, for it is one of measures")


def _needs_l2(here: Setting, of: Of) -> tuple[int, float]:
    """n and M."""
    law, n = here.law, here.count()
    if law.score.name not in ("gaussian", "metric") or law.normalisation.name != "softmax" or law.beta <= 0:
        raise InvalidInput(
            f"it needs softmax of gaussian scores, beta > 0; got {law.normalisation.name} of {law.score.name}"
        )
    p = law.projections(here.space.dimension)
    alike = all(
        (a is None) == (b is None) and (a is None or b is None or np.abs(a - b).max() <= TIED * np.abs(a).max())
        for a, b in ((p.query, p.key), (p.query_bias, p.key_bias))
    )
    if not alike or (p.query is None and p.score_scale != 1.0):
        raise InvalidInput("it needs query = key")
    if law.mask.name not in ("none", "causal") or law.prior is not None:
        raise InvalidInput(
            "it needs tokens that see themselves at the highest score: the mask none or causal, no prior"
        )
    weights = np.full(n, 1.0 / n) if here.weights is None else here.weights
    if (weights <= 0).any():
        raise InvalidInput("it needs tokens of positive weight, for M grows with 1 / min a")
    from scipy.special import lambertw

    least = weights.min()  # what precedes a token under the causal mask makes its share larger
    return n, float(lambertw((1.0 - least) / (least * math.e)).real)
