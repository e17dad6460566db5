"""The methods by name, and the choice of one for a run: everything is checked here, before anything is computed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..particles.backends import Engine, Field
from ..particles.block import Block, Law, attention_of, check_start, in_force, in_layer, switches
from ..particles.block_field import BlockField, prepare
from ..particles.ensemble import Ensemble, checked_weights
from ..particles.merging import check_mergeable
from ..particles.schedule import InterpolatedField, Schedule, breaks, laws_of
from .arithmetic import Arithmetic, State, arithmetic_of
from .brownian import Noise
from .control import first_step
from .implicit import Implicit
from .maps import GeodesicEuler, Layers
from .runge_kutta import RungeKutta
from .splitting import SPLITTINGS, Splitting, check_splittable
from .stochastic import WITHOUT_NOISE, EulerMaruyama, HeunStratonovich, Kicks
from .tableaux import TABLEAUX

MAX_STEPS = 10_000_000
SCALINGS = ("1/L", "1/sqrt(L)")  # of what a layer adds, for L layers to one depth
Array = NDArray[np.floating]


class Stepper(Protocol):
    """One method at work. It never loops, saves or looks at the end; the state handed in is left untouched.

    adaptive, order, error_order : of the method       continuous : whether there is something between two steps
    evaluations : drifts computed so far               moved : the end of the step just tried
    arithmetic  : of the states it moves               field : the law it asks
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


@dataclass(frozen=True)
class Course:
    """A checked run: who steps, how far, how long the first step is, and what is saved on the way.

    h       : the fixed step, or the first step of an adaptive method once `first` was called
    save_at : (frames,), increasing, within [0, t_end]
    mergeable : whether tokens that meet may become one
    again   : the stepper for an ensemble of other tokens, where the law allows it, or from another depth on
    switches : the depths at which it must be asked for, since another law comes into force
    """

    stepper: Stepper
    engine: Engine
    mergeable: bool
    again: Callable[[Ensemble, Engine, float], Stepper]
    t_end: float
    save_at: NDArray[np.float64]
    exact: bool
    step: float | None
    rtol: float
    atol: float
    max_steps: int
    switches: tuple[float, ...] = ()

    def first(self, stepper: Stepper, x: State) -> float:
        """The first step from x, after the stepper was started."""
        if self.step is not None:
            return self.step
        host, speed = stepper.arithmetic.host, stepper.speed()
        assert speed is not None
        return first_step(host(x), host(speed), stepper.error_order, self.rtol, self.atol)


def choose(
    law: Law | Schedule | Sequence[Law],
    ensemble: Ensemble,
    *,
    t_end: float | None,
    method: str,
    step: float | None,
    rtol: float,
    atol: float,
    layers: int | None,
    residual: bool,
    scaling: str,
    save_at: ArrayLike | None,
    exact: bool,
    merge: float | None,
    max_steps: int | None,
    engine: Engine,
    noise: Noise = Noise(),  # noqa: B008  (it is frozen)
) -> Course:
    """Check the arguments of `integrate` and make the stepper. Raises InvalidInput."""
    _check_positive("step", step)
    _check_positive("rtol", rtol)
    _check_positive("atol", atol)
    _check_positive("merge", merge)
    _check_count("max_steps", max_steps)

    # an error below rounding can be asked for, but not had
    rtol = max(rtol, 10.0 * float(np.finfo(ensemble.positions.dtype).eps))

    def make(ensemble: Ensemble, engine: Engine, t: float = 0.0) -> Stepper:
        x = ensemble.positions
        weights = checked_weights(ensemble.weights, x.shape[:2])

        def field_of(one: Law | Schedule, depth: float) -> Field:
            if isinstance(one, Schedule):
                if one.interpolated:
                    return InterpolatedField(one, lambda law: field_of(law, depth), depth)
                one = one.at(depth)
            one, space = in_force(one, depth, ensemble.space)
            if layers is not None and isinstance(one, Block) and space != ensemble.space:
                return BlockField(one, space, weights, x.shape, x.dtype, engine)  # which retracts to its own space
            return prepare(one, space, weights, x.shape, x.dtype, engine)

        if layers is not None:
            assert step is not None
            fields = _layer_fields(law, layers, step, field_of)
            return _network(fields, engine, ensemble, residual, scaling, noise, step)
        assert isinstance(law, Law | Schedule)
        _, space = in_force(laws_of(law)[0], t, ensemble.space)
        return stepper_of(method, field_of(law, t), engine, ensemble.at(x, space), rtol, atol, noise, step)

    if layers is not None:
        step = 1.0 if step is None else step
        _check_count("layers", layers)
        if t_end is not None and t_end != layers * step:
            raise InvalidInput(f"t_end is layers * step = {layers * step:g} for a network; got {t_end}")
        t_end = layers * step
    elif t_end is None:
        raise InvalidInput("t_end (or layers) is needed: how deep to go")
    elif isinstance(law, Law | Schedule) and _draws(law):
        raise InvalidInput("multipliers need layers: they are drawn anew at every layer, and a flow has none")
    elif not isinstance(law, Law | Schedule):
        raise InvalidInput("a sequence of laws needs layers: weights that change from layer to layer")
    _check_positive("t_end", t_end)
    if scaling not in SCALINGS:
        raise InvalidInput(f"scaling must be one of {', '.join(SCALINGS)}; got {scaling!r}")
    if scaling != "1/L" and not (layers is not None and residual):
        raise InvalidInput(f"scaling {scaling} needs layers with the residual connection")
    if isinstance(law, Schedule) and law.interpolated and (engine.processes > 1 or engine.sums != "exact"):
        what = f"processes = {engine.processes}" if engine.processes > 1 else f'sums = "{engine.sums}"'
        raise InvalidInput(f"an interpolated schedule needs exact sums in one process; got {what}")
    if merge is not None and engine.processes > 1:
        raise InvalidInput(f"merge needs a run in one process; got processes = {engine.processes}")
    if noise.temperature > 0.0:
        _check_noise(law, method, step, t_end, layers, residual, merge)
    for one in laws_of(law) if layers is None else ():
        check_start(one, ensemble)
        if method in SPLITTINGS:
            check_splittable(method, one)
    marked: tuple[float, ...] = ()
    if layers is None and isinstance(law, Law | Schedule):
        marked = tuple(depth for depth in breaks(law) if depth < t_end * (1.0 - 1e-12))
    mergeable = noise.temperature == 0.0 and _is_mergeable(law, ensemble, layers, insist=merge is not None)
    stepper = make(ensemble, engine)
    if layers is None and not stepper.adaptive and step is None:
        raise InvalidInput(f"method {method!r} needs a step; adaptive methods are {_names(adaptive=True)}")
    if not stepper.adaptive and step is not None:
        marked = tuple(_on_grid(np.array(marked), step, t_end, "the depth of a switch").tolist())
    times = _save_times(save_at, t_end)
    if not stepper.continuous or (exact and not stepper.adaptive):
        assert step is not None
        times = _on_grid(times, step, t_end)
    return Course(
        stepper, engine, mergeable, make, float(t_end), times, exact, step, rtol, atol, max_steps or MAX_STEPS, marked
    )


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
        return stochastic(field, arithmetic, ensemble.space, x, _kicks(noise, arithmetic, ensemble, step))
    method = WITHOUT_NOISE.get(method, method)
    if method in TABLEAUX:
        return RungeKutta(TABLEAUX[method], field, arithmetic, ensemble.space, x, rtol, atol)
    if method in SPLITTINGS:
        return Splitting(SPLITTINGS[method], field, arithmetic, ensemble.space, x)
    if method == "kencarp4":
        return Implicit(field, arithmetic, ensemble.space, x, rtol, atol)
    method_of(method)
    return GeodesicEuler(field, arithmetic, ensemble.space, x)


def _is_mergeable(law: Law | Schedule | Sequence[Law], ensemble: Ensemble, layers: int | None, insist: bool) -> bool:
    """Whether tokens that meet may become one. Raises InvalidInput if they must not and the user wants it."""
    try:
        if layers is not None:
            raise InvalidInput("merge belongs to integration in continuous depth; got layers")
        for one in laws_of(law):
            check_mergeable(attention_of(one), ensemble)
    except InvalidInput:
        if insist:
            raise
        return False
    return True


def _network(
    field_of: Callable[[int], Field],
    engine: Engine,
    ensemble: Ensemble,
    residual: bool,
    scaling: str,
    noise: Noise,
    step: float | None,
) -> Stepper:
    arithmetic = arithmetic_of(field_of(0), engine)
    assert step is not None
    kicks = _kicks(noise, arithmetic, ensemble, step) if noise.temperature > 0.0 else None
    x, root = arithmetic.load(ensemble.positions), scaling == "1/sqrt(L)"
    return Layers(field_of, arithmetic, ensemble.space, x, residual, kicks, root)


def _kicks(noise: Noise, arithmetic: Arithmetic, ensemble: Ensemble, step: float) -> Kicks:
    return Kicks(noise, arithmetic, ensemble.positions.shape, ensemble.positions.dtype, step)


def _check_noise(
    law: Law | Schedule | Sequence[Law],
    method: str,
    step: float | None,
    t_end: float,
    layers: int | None,
    residual: bool,
    merge: float | None,
) -> None:
    """Raise InvalidInput where the rest of a run does not go with noise."""
    if merge is not None:
        raise InvalidInput(f"merge does not go with noise, which drives tokens that have met apart; got {merge:g}")
    if any(switches(one) for one in laws_of(law)):
        raise InvalidInput("noise does not go with norm mix, whose tokens leave the sphere on their way")
    if layers is not None:
        if not residual:
            raise InvalidInput("noise in a network needs the residual connection")
        return
    if not method_of(method).stochastic:
        raise InvalidInput(f"noise needs layers or one of the methods {', '.join(WITHOUT_NOISE)}; got {method!r}")
    if step is None:
        raise InvalidInput(f"method {method!r} needs a step")
    if abs(round(t_end / step) * step - t_end) > 1e-9 * step:
        raise InvalidInput(f"t_end must be a multiple of the step {step:g} with noise; got {t_end:g}")


def _layer_fields(
    law: Law | Schedule | Sequence[Law], layers: int, step: float, field_of: Callable[[Law, float], Field]
) -> Callable[[int], Field]:
    if isinstance(law, Schedule):
        field_at = lru_cache(maxsize=1)(lambda one, layer: field_of(in_layer(one, layer), 0.0))
        drawn = _draws(law)
        # one field as long as one law acts, unless every layer draws its own numbers
        schedule: Schedule = law
        return lambda layer: field_at(schedule.at(layer * step), layer if drawn else 0)
    if isinstance(law, Law) and _draws(law):
        law = [law] * layers  # whose fields differ in what is drawn
    if isinstance(law, Law):
        # a field for each piece of the depth: before the first switch, after it, ...
        fields = [field_of(law, start) for start in (0.0, *switches(law))]
        first_layers = [int(np.ceil(start / step - 1e-9)) for start in switches(law)]
        return lambda layer: fields[bisect_right(first_layers, layer)]
    if len(law) != layers:
        raise InvalidInput(f"there must be one law per layer: {layers}; got {len(law)}")
    field_of(law[0], 0.0)  # so that a wrong shape is found now
    return lambda layer: field_of(in_layer(law[layer], layer), layer * step)


def _draws(law: Law | Schedule) -> bool:
    """Whether attention weights are drawn, anew at every layer."""
    laws = law.laws if isinstance(law, Schedule) else [law]
    return any(attention_of(one).multipliers is not None for one in laws)


def _save_times(save_at: ArrayLike | None, t_end: float) -> NDArray[np.float64]:
    times = np.array([0.0, t_end]) if save_at is None else np.atleast_1d(np.asarray(save_at, np.float64))
    if times.ndim != 1 or times.size == 0 or not np.isfinite(times).all():
        raise InvalidInput("save times must be a list of finite numbers")
    outside = (times < 0) | (times > t_end * (1 + 1e-12))
    if outside.any():
        raise InvalidInput(f"save times must lie in [0, {t_end:g}]; got {times[outside][0]:g}")
    if (np.diff(times) <= 0).any():
        raise InvalidInput(f"save times must increase; got {times[1:][np.diff(times) <= 0][0]:g} too late")
    return np.minimum(times, t_end)


def _on_grid(times: NDArray[np.float64], step: float, t_end: float, what: str = "save times") -> NDArray[np.float64]:
    """The same times as exact multiples of the step. Raises InvalidInput where one is none."""
    number = np.rint(times / step)
    off = (np.abs(number * step - times) > 1e-9 * np.maximum(times, step)) & (times != t_end)
    if off.any():
        raise InvalidInput(f"{what} must be multiples of the step {step:g} here; got {times[off][0]:g}")
    return np.where(times == t_end, t_end, number * step)


def _names(adaptive: bool) -> str:
    return ", ".join(name for name, method in METHODS.items() if method.adaptive == adaptive)


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not (np.isfinite(value) and value > 0):
        raise InvalidInput(f"{name} must be a positive number; got {value}")


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
        raise InvalidInput(f"{name} must be an integer of at least 1; got {value!r}")
