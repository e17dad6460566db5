"""By how much a law, or a flow, brings two measures nearer: W_p(T mu, T nu) / W_p(mu, nu).

T mu is the law of f_mu(x) for x drawn from mu, with f the attention: one layer without residual connection. A Lipschitz
bound of the law in W1 is a bound of this factor for all pairs. Source: arXiv:2007.02876.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..attention import Attention
from ..backends import Engine
from ..block import Block, Law
from ..block_field import prepare
from ..ensemble import Ensemble
from ..space import Euclidean
from ..wasserstein import wasserstein

Array = NDArray[np.float64]
Flow = Callable[[Ensemble], Ensemble]


def contraction_factor(
    law_or_flow: Law | Flow, mu: Ensemble, nu: Ensemble, *, order: int = 1, engine: Any = None, **transport: Any
) -> Array:
    """W_p(T mu, T nu) / W_p(mu, nu) of two ensembles, (replicas,); NaN where they are the same measure.

    law_or_flow : a law, whose T is `attention_map`, or any map of ensembles: a flow to some depth
    order       : p; `transport` as for `wasserstein`: metric, method, directions, seed
    engine      : the fields of `Engine`, by name, for the attention of a law

    Raises InvalidInput as `wasserstein` and the law.
    """
    if isinstance(law_or_flow, (Attention, Block)):
        law = law_or_flow
        first, second = (attention_map(law, each, **(engine or {})) for each in (mu, nu))
    elif callable(law_or_flow):
        first, second = law_or_flow(mu), law_or_flow(nu)
    else:
        raise InvalidInput(f"law_or_flow must be a law or a function of an ensemble; got {law_or_flow!r}")
    before = wasserstein(mu, nu, order=order, **transport)
    after = wasserstein(first, second, order=order, **transport)
    return np.divide(after, before, out=np.full_like(before, np.nan), where=before > 0)


def attention_map(law: Law, ensemble: Ensemble, **engine: Any) -> Ensemble:
    """T mu: the attention f at every token, with its weight, an ensemble in R^d."""
    x = np.asarray(ensemble.positions, np.float64)
    weights: Any = ensemble.weights
    field = prepare(law, ensemble.space, weights, x.shape, np.float64, Engine(**engine))
    out = np.empty_like(x)
    field.attention(0.0, x, out)
    return Ensemble(out, Euclidean(ensemble.dimension), weights)
