"""The methods by name, and the stepper of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InvalidInput
from ..particles.backends import Engine, Field
from ..particles.ensemble import Ensemble
from .arithmetic import Arithmetic, State, arithmetic_of
from .brownian import Noise
from .implicit import Implicit
from .maps import GeodesicEuler
from .runge_kutta import RungeKutta
from .splitting import SPLITTINGS, Splitting
from .stochastic import WITHOUT_NOISE, EulerMaruyama, HeunStratonovich, Kicks
from .tableaux import TABLEAUX


class Stepper(Protocol):
    """One method at work. It never loops, saves or looks at the end; the state handed in is left untouched.

    adaptive, order, error_order : of the method       continuous : whether there is something between two steps
    evaluations : drifts computed so far               moved : the end of the step just tried
    arithmetic  : of the states it moves               field : the law it asks
    memory      : what it carries from step to step besides the state, by name, which `recall` takes back
    """

    adaptive: bool
    continuous: bool
    order: int
    error_order: int
    evaluations: int
    moved: State
    arithmetic: Arithmetic
    field: Field

    def start(self, t: float, x: State) -> None: ...

    def speed(self) -> State | None: ...

    def attempt(self, t: float, h: float, x: State) -> float: ...

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None: ...

    def accept(self, t: float) -> None: ...

    def memory(self) -> dict[str, Any]: ...

    def recall(self, memory: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Method:
    """What a user may want to know of a method: its order without noise, whether it controls its error, takes noise."""

    name: str
    order: int
    adaptive: bool
    stochastic: bool = False


METHODS = {name: Method(name, tableau.order, tableau.error is not None) for name, tableau in TABLEAUX.items()} | {
    "kencarp4": Method("kencarp4", Implicit.order, Implicit.adaptive),
    "geodesic-euler": Method("geodesic-euler", 1, False),
    "euler-maruyama": Method("euler-maruyama", 1, False, stochastic=True),
    "heun-stratonovich": Method("heun-stratonovich", 2, False, stochastic=True),
}
# of the two parts of a block
SPLITTING_METHODS = {name: Method(name, splitting.order, False) for name, splitting in SPLITTINGS.items()}


def method_of(name: str) -> Method:
    """The method of this name. Raises InvalidInput for an unknown one, and says which there are."""
    methods = METHODS | SPLITTING_METHODS
    if name not in methods:
        raise InvalidInput(f"method must be one of {', '.join(methods)}; got {name!r}")
    return methods[name]


def stepper_of(
    method: str,
    field: Field,
    engine: Engine,
    ensemble: Ensemble,
    rtol: float,
    atol: float,
    noise: Noise = Noise(),  # noqa: B008  (it is frozen)
    step: float | None = None,
) -> Stepper:
    """The stepper of a method for states like the ensemble's; with noise, in steps of this length.

    Raises InvalidInput for an unknown method.
    """
    arithmetic = arithmetic_of(field, engine)
    x = arithmetic.load(ensemble.positions)
    if method in WITHOUT_NOISE and noise.temperature > 0.0:
        assert step is not None
        stochastic = EulerMaruyama if method == "euler-maruyama" else HeunStratonovich
        return stochastic(field, arithmetic, ensemble.space, x, kicks_of(noise, arithmetic, ensemble, step))
    method = WITHOUT_NOISE.get(method, method)
    if method in TABLEAUX:
        return RungeKutta(TABLEAUX[method], field, arithmetic, ensemble.space, x, rtol, atol)
    if method in SPLITTINGS:
        return Splitting(SPLITTINGS[method], field, arithmetic, ensemble.space, x)
    if method == "kencarp4":
        return Implicit(field, arithmetic, ensemble.space, x, rtol, atol)
    method_of(method)
    return GeodesicEuler(field, arithmetic, ensemble.space, x)


def names_of(adaptive: bool) -> str:
    """The names of the adaptive methods, or of the others."""
    return ", ".join(name for name, method in METHODS.items() if method.adaptive == adaptive)


def kicks_of(noise: Noise, arithmetic: Arithmetic, ensemble: Ensemble, step: float) -> Kicks:
    """The increments of the noise, in steps of this length, for states like the ensemble's."""
    return Kicks(noise, arithmetic, ensemble.positions.shape, ensemble.positions.dtype, step)
