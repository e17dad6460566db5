"""Token weights that change with depth: the measure of the tokens is not only moved, its mass goes from one to another.

    piecewise      a(t) = a_k for t_k <= t < t_{k+1}
    interpolated   a(t) = a_k + (t - t_k) / (t_{k+1} - t_k) (a_{k+1} - a_k)         from the last depth on the last

Both stay in the simplex, which is convex. Weights may also hang on a point that moves with the tokens: `focus`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .backends import Field
from .ensemble import Ensemble, checked_weights
from .space import Space

Array = NDArray[np.floating]
SLACK = 1e-12  # a depth is reached up to this fraction of it
BELONG_TO_THE_FIELD = ("load", "host", "add_up", "record", "device")


class Weighting(Protocol):
    """How the weights of an ensemble's tokens change with depth.

    The state that is integrated is the tokens' positions with `rows` further rows, (replicas, tokens + rows,
    dimension), in which the weighting keeps what it needs besides the depth.
    """

    @property
    def rows(self) -> int: ...

    @property
    def breaks(self) -> tuple[float, ...]:
        """The depths above 0 at which weights jump, or change in another way: no step goes across one."""

    def start(self, ensemble: Ensemble) -> Array:
        """The further rows at depth 0, (replicas, rows, dimension). Raises InvalidInput where something is misfit."""

    def weights(self, t: float, ensemble: Ensemble, state: Any) -> NDArray[np.float64]:
        """The token weights, (tokens,) or (replicas, tokens), of a state of the ensemble."""

    def row_velocity(self, ensemble: Ensemble, state: Any, space: Space, out: Any) -> None:
        """Write the velocity of the further rows of a state into those of `out`, both as the state."""

    def retract_rows(self, rows: Any, space: Space) -> None:
        """Bring what the further rows (replicas, rows, dimension) hold back to where it belongs, in place."""


@dataclass(frozen=True, eq=False)
class WeightSchedule:
    """Token weights at increasing depths, the first of which is 0.

    given        : (depths, tokens), each row nonnegative with sum 1
    depths       : (depths,)
    interpolated : whether weights change linearly from one depth to the next, or jump

    Raises InvalidInput for depths that do not increase from 0, or weights that are no probabilities.
    """

    given: ArrayLike
    depths: ArrayLike
    interpolated: bool = False
    rows = 0

    def __post_init__(self) -> None:
        depths, given = np.asarray(self.depths, np.float64), np.asarray(self.given, np.float64)
        if given.ndim != 2 or depths.shape != given.shape[:1] or 0 in given.shape:
            raise InvalidInput(
                f"a weight schedule needs weights (depths, tokens) and as many depths; got the shapes {given.shape} "
                f"and {depths.shape}"
            )
        if depths[0] != 0.0 or not np.isfinite(depths).all() or (np.diff(depths) <= 0.0).any():
            raise InvalidInput(f"depths must be finite and increase from 0; got {depths.tolist()}")
        for row in given:
            checked_weights(row, (1, given.shape[1]))
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "depths", depths)

    @property
    def breaks(self) -> tuple[float, ...]:
        """See `Weighting.breaks`."""
        return tuple(np.asarray(self.depths)[1:].tolist())

    def at(self, t: float) -> NDArray[np.float64]:
        """The weights at depth t, (tokens,)."""
        depths, given = np.asarray(self.depths), np.asarray(self.given)
        k = max(bisect_right(depths.tolist(), t * (1.0 + SLACK)) - 1, 0)
        if not self.interpolated or k + 1 == len(depths) or t <= depths[k]:
            return given[k]
        theta = (t - depths[k]) / (depths[k + 1] - depths[k])
        return (1.0 - theta) * given[k] + theta * given[k + 1]

    def start(self, ensemble: Ensemble) -> Array:
        """See `Weighting.start`: there are no further rows."""
        tokens = np.shape(self.given)[1]
        if tokens != ensemble.tokens:
            raise InvalidInput(f"there must be a weight for each of {ensemble.tokens} tokens; got {tokens}")
        return np.empty((ensemble.replicas, 0, ensemble.dimension), ensemble.positions.dtype)

    def weights(self, t: float, ensemble: Ensemble, state: Any) -> NDArray[np.float64]:
        """See `Weighting.weights`."""
        return self.at(t)

    def row_velocity(self, ensemble: Ensemble, state: Any, space: Space, out: Any) -> None:
        """See `Weighting.row_velocity`: there are no further rows."""

    def retract_rows(self, rows: Any, space: Space) -> None:
        """See `Weighting.retract_rows`: there are none."""


def extended(weighting: Weighting | None, ensemble: Ensemble) -> Array:
    """The state at depth 0: positions with the further rows of the weighting, (replicas, tokens + rows, dimension)."""
    if weighting is None or not weighting.rows:
        return ensemble.positions
    return np.concatenate([ensemble.positions, weighting.start(ensemble)], axis=1)


def at_depth(weighting: Weighting | None, ensemble: Ensemble, t: float, state: Array) -> Ensemble:
    """The ensemble of a state at depth t: its positions, with the token weights and the focus as they are there."""
    if weighting is None:
        return ensemble.at(state)
    positions, rows = state[:, : ensemble.tokens], state[:, ensemble.tokens :]
    weights = weighting.weights(t, ensemble, state)
    return ensemble.at(positions, weights=weights, focus=rows if weighting.rows else None)


class WeightedField:
    """See `Field`: the field of a law whose token weights are others at every depth, prepared anew each time.

    prepare : (depth, weights) -> the law as a field
    Positions and what is written to are states of the weighting, (replicas, tokens + rows, dimension).
    """

    def __init__(
        self,
        weighting: Weighting,
        ensemble: Ensemble,
        space: Space,
        prepare: Callable[[float, NDArray[np.float64]], Field],
        t: float = 0.0,
    ) -> None:
        self._weighting, self._ensemble, self._space, self._prepare = weighting, ensemble, space, prepare
        self.rows = weighting.rows
        self._field: Any = prepare(t, weighting.weights(t, ensemble, extended(weighting, ensemble)))

    def __getattr__(self, name: str) -> Any:
        if name in BELONG_TO_THE_FIELD:
            return getattr(self._field, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def velocity(self, t: float, positions: Any, out: Any) -> None:
        """See `Field.velocity`."""
        self._evaluate("velocity", t, positions, out)

    def attention(self, t: float, positions: Any, out: Any) -> None:
        """See `Field.attention`."""
        self._evaluate("attention", t, positions, out)

    def attention_velocity(self, t: float, positions: Any, out: Any) -> None:
        """As `velocity`, of the attention of a block alone."""
        self._evaluate("attention_velocity", t, positions, out)

    def feed_forward_velocity(self, t: float, positions: Any, out: Any) -> None:
        """As `velocity`, of the feed-forward map of a block alone, by which nothing but tokens is moved."""
        tokens = self._ensemble.tokens
        moved = 0.0 * positions[:, :tokens]
        self._field.feed_forward_velocity(t, positions[:, :tokens] + 0.0, moved)
        out[...] = 0.0
        out[:, :tokens] = moved

    def retract(self, state: Any) -> None:
        """Bring a state back to the space of its tokens, in place."""
        tokens = self._ensemble.tokens
        state[:, :tokens] = self._space.retract(state[:, :tokens])
        self._weighting.retract_rows(state[:, tokens:], self._space)

    def statistics(self, positions: Any) -> tuple[Any, Any]:
        """See `Field.statistics`: at the depth last asked for."""
        return self._field.statistics(positions[:, : self._ensemble.tokens] + 0.0)

    def _evaluate(self, what: str, t: float, state: Any, out: Any) -> None:
        weighting, tokens = self._weighting, self._ensemble.tokens
        self._field = self._prepare(t, weighting.weights(t, self._ensemble, state))
        moved = 0.0 * state[:, :tokens]  # kernels want arrays of their own
        getattr(self._field, what)(t, state[:, :tokens] + 0.0, moved)
        out[:, :tokens] = moved
        weighting.row_velocity(self._ensemble, state, self._space, out)
