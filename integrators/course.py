"""One run, checked before anything is computed: who steps, how far, and what is saved on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..logs import logger_of
from ..particles.backends import Engine
from ..particles.block import Block, Law, attention_of, check_start, switches
from ..particles.ensemble import Ensemble
from ..particles.merging import check_mergeable
from ..particles.schedule import Schedule, breaks, laws_of
from .arithmetic import State
from .control import first_step
from .methods import Stepper, method_of, names_of
from .splitting import SPLITTINGS, check_splittable
from .stochastic import WITHOUT_NOISE
from .way import Way, draws

LOG = logger_of(__name__)
MAX_STEPS = 10_000_000
SCALINGS = ("1/L", "1/sqrt(L)")  # of what a layer adds, for L layers to one depth
WITH_FOCUS = ("euler", "heun", "rk4", "bs32", "tsit5", "dp54", "dop853", "kencarp4")  # which need no exponential map


@dataclass(frozen=True)
class Course:
    """A checked run: who steps, how far, how long the first step is, and what is saved on the way.

    h       : the fixed step, or the first step of an adaptive method once `first` was called
    save_at : (frames,), increasing, within [0, t_end]
    mergeable : whether tokens that meet may become one
    way     : makes the stepper for an ensemble of other tokens, where the law allows it, or from another depth on
    switches : the depths at which it must be asked for, since another law comes into force
    """

    stepper: Stepper
    engine: Engine
    mergeable: bool
    way: Way
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
    way: Way,
    ensemble: Ensemble,
    *,
    t_end: float | None,
    save_at: ArrayLike | None,
    exact: bool,
    merge: float | None,
    max_steps: int | None,
    engine: Engine,
) -> Course:
    """Check the arguments of `integrate` and make the stepper. Raises InvalidInput."""
    for name, value in (("step", way.step), ("rtol", way.rtol), ("atol", way.atol), ("merge", merge)):
        _check_positive(name, value)
    _check_count("max_steps", max_steps)
    # an error below rounding can be asked for, but not had
    way = replace(way, rtol=max(way.rtol, 10.0 * float(np.finfo(ensemble.positions.dtype).eps)))
    t_end = _end(way, t_end)
    _check_laws(way, ensemble, engine)
    if merge is not None and engine.processes > 1:
        raise InvalidInput(f"merge needs a run in one process; got processes = {engine.processes}")
    if way.noise.temperature > 0.0:
        _check_noise(way, t_end, merge)
    if way.weighting is not None:
        _check_weighting(way, ensemble, merge, engine)
    marked = _marked(way, t_end)
    mergeable = way.noise.temperature == 0.0 and _is_mergeable(way, ensemble, insist=merge is not None)
    stepper = way.stepper(ensemble, engine)
    step = way.step
    if not stepper.adaptive:
        if step is None:
            raise InvalidInput(f"method {way.method!r} needs a step; adaptive methods are {names_of(adaptive=True)}")
        marked = tuple(_on_grid(np.array(marked), step, t_end, "the depth of a switch").tolist())
    times = _save_times(save_at, t_end)
    if step is not None and (not stepper.continuous or (exact and not stepper.adaptive)):
        times = _on_grid(times, step, t_end)
    LOG.debug(
        "%d x %d tokens to depth %g by %s, %s on %s, sums %s",
        *ensemble.positions.shape[:2], t_end, "layers" if way.layers is not None else way.method,
        type(stepper.field).__name__, engine.backend, engine.sums,
    )  # fmt: skip
    return Course(
        stepper, engine, mergeable, way, float(t_end), times, exact, step, way.rtol, way.atol, max_steps or MAX_STEPS,
        marked,
    )  # fmt: skip


def _end(way: Way, t_end: float | None) -> float:
    """The depth to reach."""
    if way.layers is not None:
        _check_count("layers", way.layers)
        assert way.step is not None
        if t_end is not None and t_end != way.layers * way.step:
            raise InvalidInput(f"t_end is layers * step = {way.layers * way.step:g} for a network; got {t_end}")
        t_end = way.layers * way.step
    if t_end is None:
        raise InvalidInput("t_end (or layers) is needed: how deep to go")
    _check_positive("t_end", t_end)
    return t_end


def _check_laws(way: Way, ensemble: Ensemble, engine: Engine) -> None:
    """Raise InvalidInput where the laws do not go with the way they are followed."""
    law = way.law
    if way.layers is not None:
        if not isinstance(law, Law | Schedule) and len(law) != way.layers:
            raise InvalidInput(f"there must be one law per layer: {way.layers}; got {len(law)}")
        for one in laws_of(law):
            if isinstance(one, Block):
                one.check_residual(way.residual)
    elif not isinstance(law, Law | Schedule):
        raise InvalidInput("a sequence of laws needs layers: weights that change from layer to layer")
    elif draws(law):
        raise InvalidInput("multipliers need layers: they are drawn anew at every layer, and a flow has none")
    if way.scaling not in SCALINGS:
        raise InvalidInput(f"scaling must be one of {', '.join(SCALINGS)}; got {way.scaling!r}")
    if way.scaling != "1/L" and not (way.layers is not None and way.residual):
        raise InvalidInput(f"scaling {way.scaling} needs layers with the residual connection")
    if isinstance(law, Schedule) and law.interpolated:
        _check_exact("an interpolated schedule", engine)
    for one in laws_of(law) if way.layers is None else ():
        check_start(one, ensemble)
        if way.method in SPLITTINGS:
            check_splittable(way.method, one)


def _check_exact(what: str, engine: Engine) -> None:
    if engine.processes > 1 or engine.sums != "exact":
        given = f"processes = {engine.processes}" if engine.processes > 1 else f'sums = "{engine.sums}"'
        raise InvalidInput(f"{what} needs exact sums in one process; got {given}")


def _check_weighting(way: Way, ensemble: Ensemble, merge: float | None, engine: Engine) -> None:
    """Raise InvalidInput where the rest of a run does not go with token weights that change."""
    weighting = way.weighting
    assert weighting is not None
    weighting.start(ensemble)
    if merge is not None:
        raise InvalidInput(f"merge does not go with token weights that change with depth; got {merge:g}")
    _check_exact("a weighting of tokens that changes with depth", engine)
    if not weighting.rows:
        return
    if way.noise.temperature > 0.0:
        raise InvalidInput(f"a focus does not go with noise; got {way.noise.temperature:g}")
    if any(switches(one) for one in laws_of(way.law)):
        raise InvalidInput("a focus does not go with norm mix, whose tokens leave the sphere on their way")
    if way.layers is None and way.method not in WITH_FOCUS:
        raise InvalidInput(f"a focus needs layers or one of the methods {', '.join(WITH_FOCUS)}; got {way.method!r}")
    if way.layers is not None:
        if not way.residual or way.scaling != "1/L":
            raise InvalidInput("a focus in a network needs the residual connection and the scaling 1/L")
        if any(isinstance(one, Block) and not one.is_attention for one in laws_of(way.law)):
            raise InvalidInput("a focus in a network needs layers of attention alone, with norm none or post")


def _marked(way: Way, t_end: float) -> tuple[float, ...]:
    """The depths in continuous depth at which something jumps."""
    if way.layers is not None:
        return ()
    assert isinstance(way.law, Law | Schedule)
    found = {*breaks(way.law), *(() if way.weighting is None else way.weighting.breaks)}
    return tuple(depth for depth in sorted(found) if depth < t_end * (1.0 - 1e-12))


def _is_mergeable(way: Way, ensemble: Ensemble, insist: bool) -> bool:
    """Whether tokens that meet may become one. Raises InvalidInput if they must not and the user wants it."""
    if way.weighting is not None:
        return False
    try:
        if way.layers is not None:
            raise InvalidInput("merge belongs to integration in continuous depth; got layers")
        for one in laws_of(way.law):
            check_mergeable(attention_of(one), ensemble)
    except InvalidInput:
        if insist:
            raise
        return False
    return True


def _check_noise(way: Way, t_end: float, merge: float | None) -> None:
    """Raise InvalidInput where the rest of a run does not go with noise."""
    if merge is not None:
        raise InvalidInput(f"merge does not go with noise, which drives tokens that have met apart; got {merge:g}")
    if any(switches(one) for one in laws_of(way.law)):
        raise InvalidInput("noise does not go with norm mix, whose tokens leave the sphere on their way")
    if way.layers is not None:
        if not way.residual:
            raise InvalidInput("noise in a network needs the residual connection")
        return
    if not method_of(way.method).stochastic:
        raise InvalidInput(f"noise needs layers or one of the methods {', '.join(WITHOUT_NOISE)}; got {way.method!r}")
    step = way.step
    if step is None:
        raise InvalidInput(f"method {way.method!r} needs a step")
    if abs(round(t_end / step) * step - t_end) > 1e-9 * step:
        raise InvalidInput(f"t_end must be a multiple of the step {step:g} with noise; got {t_end:g}")


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


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not (np.isfinite(value) and value > 0):
        raise InvalidInput(f"{name} must be a positive number; got {value}")


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
        raise InvalidInput(f"{name} must be an integer of at least 1; got {value!r}")
