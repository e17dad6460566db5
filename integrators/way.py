"""From the arguments of a run to its stepper: for its ensemble, and again when that or the law changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..particles.backends import Engine, Field
from ..particles.block import Block, Law, attention_of, in_force, in_layer, switches
from ..particles.block_field import BlockField, prepare
from ..particles.ensemble import Ensemble, checked_weights
from ..particles.schedule import InterpolatedField, Schedule, laws_of
from ..particles.space import Space
from ..particles.weighting import WeightedField, Weighting, WeightSchedule, extended
from .arithmetic import arithmetic_of
from .brownian import Noise
from .failures import Setting
from .maps import Layers
from .methods import Stepper, kicks_of, stepper_of

Weights = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Way:
    """The arguments of `integrate` that steppers are made from; `step` is that of a layer or of a method."""

    law: Law | Schedule | Sequence[Law]
    weighting: Weighting | None
    method: str
    step: float | None
    rtol: float
    atol: float
    layers: int | None
    residual: bool
    scaling: str
    noise: Noise

    def stepper(self, ensemble: Ensemble, engine: Engine, t: float = 0.0) -> Stepper:
        """The stepper for an ensemble, from depth t on."""
        if self.layers is not None:
            return self._network(ensemble, engine)
        law = self.law
        assert isinstance(law, Law | Schedule)
        _, space = in_force(laws_of(law)[0], t, ensemble.space)
        states = ensemble.at(extended(self.weighting, ensemble), space=space)
        field = self._field(law, t, ensemble, engine)
        return stepper_of(self.method, field, engine, states, self.rtol, self.atol, self.noise, self.step)

    def setting(self, t: float, steps: int, space: Space, adaptive: bool) -> Setting:
        """Under what the step after so many others, from depth t, is taken."""
        networked = self.layers is not None
        law = self._law_of(steps) if networked else self.law.at(t) if isinstance(self.law, Schedule) else self.law
        assert isinstance(law, Law)
        law, space = in_force(law, t, space)
        return Setting(
            law, space, None if adaptive else self.step, steps + 1 if networked else None, self.noise.temperature
        )

    def _field(self, law: Law | Schedule, t: float, ensemble: Ensemble, engine: Engine) -> Field:
        """The field of a law in continuous depth from t on, with token weights as they are there."""
        weighting = self.weighting
        if weighting is None:
            weights = checked_weights(ensemble.weights, ensemble.positions.shape[:2])
            return self._unweighted(law, t, weights, ensemble, engine)
        if isinstance(weighting, WeightSchedule) and not weighting.interpolated:
            return self._unweighted(law, t, weighting.at(t), ensemble, engine)
        _, space = in_force(laws_of(law)[0], t, ensemble.space)
        again = lambda depth, weights: self._unweighted(law, depth, weights, ensemble, engine)  # noqa: E731
        return WeightedField(weighting, ensemble, space, again, t)

    def _unweighted(
        self, law: Law | Schedule, depth: float, weights: Weights, ensemble: Ensemble, engine: Engine
    ) -> Field:
        """The field of a law from a depth on, with these token weights."""
        if isinstance(law, Schedule):
            if law.interpolated:
                again = lambda one: self._unweighted(one, depth, weights, ensemble, engine)  # noqa: E731
                return InterpolatedField(law, again, depth)
            law = law.at(depth)
        law, space = in_force(law, depth, ensemble.space)
        x = ensemble.positions
        if self.layers is not None and isinstance(law, Block) and space != ensemble.space:
            return BlockField(law, space, weights, x.shape, x.dtype, engine)  # which retracts to its own space
        return prepare(law, space, weights, x.shape, x.dtype, engine)

    def _network(self, ensemble: Ensemble, engine: Engine) -> Stepper:
        field_of = self._layer_fields(ensemble, engine)
        arithmetic = arithmetic_of(field_of(0), engine)
        states = ensemble.at(extended(self.weighting, ensemble))
        assert self.step is not None
        kicks = kicks_of(self.noise, arithmetic, states, self.step) if self.noise.temperature > 0.0 else None
        x, root = arithmetic.load(states.positions), self.scaling == "1/sqrt(L)"
        return Layers(field_of, arithmetic, ensemble.space, x, self.residual, kicks, root)

    def _layer_fields(self, ensemble: Ensemble, engine: Engine) -> Callable[[int], Field]:
        """The field of every layer, made when its turn comes, and kept as long as nothing in it changes."""
        weighting, step = self.weighting, self.step
        assert step is not None
        base = checked_weights(ensemble.weights, ensemble.positions.shape[:2])

        @lru_cache(maxsize=1)
        def made(law: Law, depth: float, weights: bytes) -> Field:
            shape = base.shape if not isinstance(weighting, WeightSchedule) else (ensemble.tokens,)
            return self._unweighted(law, depth, np.frombuffer(weights).reshape(shape), ensemble, engine)

        def field_of(layer: int) -> Field:
            law = self._law_of(layer)
            # the depth from which on this piece of the law acts
            depth = max(start for start in (0.0, *switches(law)) if start <= (layer + 1e-9) * step)
            if weighting is not None and not isinstance(weighting, WeightSchedule):
                return self._field(law, depth, ensemble, engine)
            weights = base if weighting is None else weighting.at(layer * step)
            return made(law, depth, weights.tobytes())

        return field_of

    def _law_of(self, layer: int) -> Law:
        """The law of a layer, with the random weights of that layer."""
        law, step = self.law, self.step
        if isinstance(law, Law):
            return in_layer(law, layer)
        if isinstance(law, Schedule):
            assert step is not None
            return in_layer(law.at(layer * step), layer)
        return in_layer(law[layer], layer)


def draws(law: Law | Schedule) -> bool:
    """Whether attention weights are drawn, anew at every layer."""
    laws = law.laws if isinstance(law, Schedule) else [law]
    return any(attention_of(one).multipliers is not None for one in laws)
