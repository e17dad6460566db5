"""A search for the ensemble at which a law's local Lipschitz constant is largest: a lower bound of the global one.

The gradient of |J| at x is that of <u, J(x) v> with the singular vectors u and v held: torch differentiates <J(x)^T u, v>
once more. Without torch, steps are random. Several starts climb side by side, each with a step of its own that grows
where it succeeds; what is found is a maximum near a start, not the largest there is.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput
from ..block import Law
from ..ensemble import Ensemble
from ..space import Space, Sphere
from .jacobian import Of
from .local import LocalConstant, Norm, local_constant

Array = NDArray[np.float64]
FIRST_STEP, GROW, SHRINK = 0.1, 1.3, 0.5  # the first step, over the size of the ensemble


@dataclass(frozen=True)
class Worst:
    """What a search found.

    ensemble : one replica, the worst          value  : its local constant
    values   : (restarts,), what each start climbed to
    """

    ensemble: Ensemble
    value: float
    values: Array


def worst_ensemble(
    law: Law,
    space: Space,
    *,
    tokens: int,
    radius: float | None = None,
    weights: ArrayLike | None = None,
    norm: Norm = "euclidean",
    of: Of = "drift",
    restarts: int = 8,
    steps: int = 100,
    seed: int = 0,
    search: Literal["gradient", "random"] | None = None,
    **engine: Any,
) -> Worst:
    """The ensemble with the largest local constant that a search on the sphere, or in the ball of a radius, finds.

    search : "gradient", which needs torch, or "random"; by default the first where torch is installed
    engine : of the local constants, as for `local_constant`, with its `norm` and `of`

    Raises InvalidInput for R^d without a radius, and as `local_constant`; MissingExtra for gradients without torch.
    """
    if isinstance(space, Sphere):
        if radius is not None:
            raise InvalidInput("radius must be left out on a sphere, which has its own")
    elif radius is None or not (np.isfinite(radius) and radius > 0):
        raise InvalidInput(f"radius must be a positive number: that of the ball in which to search; got {radius!r}")
    if search not in (None, "gradient", "random"):
        raise InvalidInput(f'search must be "gradient" or "random"; got {search!r}')
    for name, number in (("restarts", restarts), ("steps", steps), ("tokens", tokens)):
        if not isinstance(number, (int, np.integer)) or number < 1:
            raise InvalidInput(f"{name} must be an integer of at least 1; got {number!r}")
    if search is None:
        search = "gradient" if importlib.util.find_spec("torch") else "random"
    generator = np.random.default_rng(seed)
    size = space.radius if isinstance(space, Sphere) else float(radius or 1.0)
    now = _confined(_starts(space, size, tokens, restarts, generator), space, size)
    fixed = None if weights is None else np.asarray(weights, np.float64)
    here = Ensemble(now, space, fixed)
    measured = local_constant(law, here, norm=norm, of=of, seed=seed, **engine)
    lengths = np.full((restarts, 1, 1), FIRST_STEP * size * np.sqrt(tokens))
    for _ in range(steps):
        if search == "gradient":
            ascent = _gradient(law, here, measured, norm, of, engine)
        else:
            ascent = generator.standard_normal(now.shape)
        ascent /= np.maximum(np.linalg.norm(ascent, axis=(1, 2), keepdims=True), 1e-300)
        tried = here.at(_confined(here.positions + lengths * ascent, space, size))
        there = local_constant(law, tried, norm=norm, of=of, seed=seed, **engine)
        better = there.value > measured.value
        lengths *= np.where(better, GROW, SHRINK)[:, None, None]
        if search == "random":
            lengths = np.maximum(lengths, 1e-4 * size)
        chosen = better[:, None, None]
        here = here.at(np.where(chosen, tried.positions, here.positions))
        measured = LocalConstant(
            np.where(better, there.value, measured.value),
            np.where(chosen, there.direction, measured.direction),
            np.where(chosen, there.image, measured.image),
        )
    best = int(measured.value.argmax())
    return Worst(Ensemble(here.positions[best], space, fixed), float(measured.value[best]), measured.value)


def _gradient(law: Law, ensemble: Ensemble, measured: LocalConstant, norm: Norm, of: Of, engine: Any) -> Array:
    """The gradient of the local constants, (replicas, tokens, dimension), with the singular vectors held."""
    from ..backends import Engine
    from .tensor import gradient_of_product  # imports torch, which is an extra

    image = measured.image
    if norm == "measure":
        weights = np.broadcast_to(np.asarray(ensemble.weights, np.float64), image.shape[:2])
        image = weights[..., None] * image
    device = engine.get("device", "cpu")
    return gradient_of_product(law, ensemble, of, Engine(backend="torch", device=device), image, measured.direction)


def _starts(space: Space, size: float, tokens: int, restarts: int, generator: np.random.Generator) -> Array:
    """Uniform tokens, and by turns few clusters, one token at the border with the others on its ray, one far from all."""
    shape = (restarts, tokens, space.dimension)
    directions = generator.standard_normal(shape)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    x = size * directions * generator.random((*shape[:2], 1)) ** (1.0 / space.dimension)
    for number in range(1, restarts, 2):
        kind = number // 2 % 3
        if kind == 0:
            x[number] = x[number, generator.integers(0, min(3, tokens), tokens)]
        elif kind == 1:
            x[number] = size * directions[number, 0] * np.where(np.arange(tokens) == 0, 1.0, 0.5)[:, None]
        else:
            x[number] = size * directions[number, 0] * np.where(np.arange(tokens) == 0, -1.0, 1.0)[:, None]
    return x + 0.02 * size * generator.standard_normal(shape)


def _confined(x: Array, space: Space, size: float) -> Array:
    """The nearest points of the sphere or the ball."""
    if isinstance(space, Sphere):
        return space.retract(x)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x * np.minimum(1.0, size / np.maximum(length, 1e-300))
