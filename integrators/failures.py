"""Why a run failed: the depth or layer, the replica and token, and the likely cause, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..particles.attention import Attention
from ..particles.block import Block, Law, attention_of, feed_forward_of
from ..particles.space import Space, Sphere
from .implicit import UNSOLVED

Array = NDArray[np.floating]
FAR = 1e-3  # of the length whose square overflows: tokens beyond it have run away
JUMPING = ("hardmax", "top-k")  # normalisations whose weights jump where scores pass one another
POWERS = {"linear": "|x|^3", "relu": "|x|^3"}  # how the drift of other attention without a sum grows, at least


@dataclass(frozen=True)
class Failure:
    """Where and why a run could not go on.

    what : what happened       depth, layer : where, the layer of a network counted from 1
    replica, token, size : the token that most likely caused it, and its length before the step
    cause : the likely cause, and what may be done
    """

    what: str
    depth: float
    layer: int | None
    replica: int
    token: int
    size: float
    cause: str

    def told(self, strings: Sequence[str] | None = None) -> str:
        """The sentence; with the strings of the tokens it has that of this one."""
        name = "" if strings is None else f" {_short(strings[self.token])}"
        layer = "" if self.layer is None else f", layer {self.layer}"
        return (
            f"{self.what} at depth {self.depth:.6g}{layer} (replica {self.replica}, token {self.token}{name}, "
            f"|x| = {self.size:.3g} before the step){self.cause}"
        )


@dataclass(frozen=True)
class Setting:
    """Under what a step was taken.

    law, space : in force there       step : that of a method of fixed step, or of a network, else None
    layer      : the number of the layer, from 1, else None       noise : its temperature
    """

    law: Law
    space: Space
    step: float | None
    layer: int | None
    noise: float


def not_finite(setting: Setting, t: float, x: Array, moved: Array) -> Failure:
    """A step of fixed size gave positions, or a drift there, that are not finite; x is where it began."""
    bad = np.asarray(~np.isfinite(moved).all(axis=-1))
    # the longest of the tokens that failed: within a step it takes the others with it
    place = _longest(x, among=bad)
    reached = _lengths(np.where(bad[..., None], 0.0, moved)).max()
    away = not isinstance(setting.space, Sphere) and is_far(max(reached, _lengths(x[place])), x.dtype)
    what = "a token grew beyond all bounds" if away else f"the {'state' if bad.any() else 'drift'} is not finite"
    return _failure(setting, what, t, x, place)


def ran_away(setting: Setting, t: float, x: Array) -> Failure:
    """The tokens x are so far out, though finite, that nothing more is to be learnt."""
    return _failure(setting, "a token grew beyond all bounds", t, x, _longest(x, among=np.zeros(x.shape[:2], bool)))


def step_too_small(setting: Setting, t: float, x: Array, speed: Array | None, error: float) -> Failure:
    """The step of an adaptive method fell to the spacing of numbers; x and its speed (replicas, tokens, dimension)."""
    bad = np.zeros(x.shape[:2], bool) if speed is None else np.asarray(~np.isfinite(speed).all(axis=-1))
    place = _longest(x if speed is None or bad.any() else speed, among=bad)
    if not isinstance(setting.space, Sphere) and is_far(float(_lengths(x[place])), x.dtype):
        what = "a token grew beyond all bounds"
    elif bad.any() or not np.isfinite(error):
        what = "the drift is not finite"
    elif error == UNSOLVED:
        what = "the rounds of the implicit step converged for no length of the step"
    else:
        what = "the step size fell to the spacing of numbers"
    return _failure(setting, what, t, x, place, jumps=bool(np.isfinite(error)))


def too_many_steps(setting: Setting, t: float, x: Array, speed: Array | None, most: int, step: float) -> Failure:
    """A run took all the steps it was allowed; the last one was of this length."""
    place = _longest(x if speed is None else speed, among=np.zeros(x.shape[:2], bool))
    what = f"max_steps = {most} steps were taken, the last of {step:.3g},"
    return _failure(setting, what, t, x, place, jumps=True, slow=True)


def _failure(
    setting: Setting, what: str, t: float, x: Array, place: tuple[int, int], jumps: bool = False, slow: bool = False
) -> Failure:
    cause = _jump(setting) if jumps else ""
    if not cause and slow and attention_of(setting.law).normalisation.name != "none":
        ways = "a larger rtol, or kencarp4 where clusters last" if setting.step is None else "or a longer step"
        cause = f"; allow more steps, {ways}"
    cause = cause or _cause(setting, x[place])
    return Failure(what, t, setting.layer, *place, float(_lengths(x[place])), cause)


def _longest(vectors: Array, among: NDArray[np.bool_]) -> tuple[int, int]:
    """Replica and token of the longest of the vectors (replicas, tokens, dimension); of all, where `among` is empty."""
    lengths = _lengths(vectors)
    lengths = np.where(among | ~among.any(), np.nan_to_num(lengths, nan=np.inf), -1.0)
    replica, token = np.unravel_index(int(np.argmax(lengths)), lengths.shape)
    return int(replica), int(token)


def _lengths(vectors: Array) -> Array:
    """|x| of vectors (..., dimension), whose squares may overflow."""
    vectors = np.asarray(vectors, np.float64)
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    scale = np.where((largest > 0.0) & np.isfinite(largest), largest, 1.0)
    return scale[..., 0] * np.linalg.norm(vectors / scale, axis=-1)


def is_far(length: float, dtype: np.dtype) -> bool:
    """Whether a token of this length has run away: in numbers of this type its square overflows, or soon will."""
    return not length < FAR * float(np.sqrt(np.finfo(dtype).max))


def _jump(setting: Setting) -> str:
    """What to do where the law is not continuous, which no step is short enough for."""
    name = attention_of(setting.law).normalisation.name
    return "" if name not in JUMPING else f"; {name} attention jumps where scores pass one another: take a fixed step"


def _cause(setting: Setting, x: Array) -> str:
    """The likely cause of what a token at x (dimension,) does, and what may be done against it."""
    attention, bounded = attention_of(setting.law), isinstance(setting.space, Sphere)
    name = attention.normalisation.name
    if name == "none":
        power, bound = ("r", "") if bounded else ("|x|", ", a sphere bounds its tokens")
        cause = (
            f"; unnormalised attention grows like exp(beta {power}^2), here beta = {attention.beta:g}: "
            f"shift rescales its time{bound}"
        )
    elif bounded:
        cause = "; on a sphere only numbers too large for their type do this: are those of the law?"
    elif (stretch := _feed_forward_stretch(setting.law, x)) is not None:
        cause = (
            f"; its feed-forward map is {stretch:.3g} times as long as the token: "
            "a norm (post, peri), a smaller depth or step bounds it"
        )
    elif _kick(setting, len(x)) > 0.1 * _lengths(x):
        cause = f"; noise of temperature {setting.noise:g} moves it by {_kick(setting, len(x)):.3g} a step: lower it"
    else:
        cause = (
            f"; tokens in R^d may run away{_growth(attention, len(x))}: a sphere, a smaller depth or step bounds them"
        )
    if setting.step is not None and setting.layer is None:
        cause += f"; a step shorter than {setting.step:g} or an adaptive method follows them further"
    if x.dtype == np.float32:
        cause += "; float64 reaches further than float32"
    return cause


def _growth(attention: Attention, dimension: int) -> str:
    """How fast tokens may run away in R^d, as far as the law tells at a glance."""
    name = attention.normalisation.name
    if name in POWERS:
        return f", as {name} attention grows like {POWERS[name]}"
    rate = _rate(attention, dimension)
    return "" if rate is None or rate <= 0.0 else f", as the value matrix stretches like exp({rate:.3g} t)"


def _rate(attention: Attention, dimension: int) -> float | None:
    """The largest real part of an eigenvalue of V, the output matrix included; None where heads have several."""
    parts = attention.projections(dimension)
    if attention.heads > 1 or attention.gate is not None:
        return None
    value = parts.value_scale * np.eye(dimension) if parts.value is None else parts.value[0]
    matrix = value if parts.output is None else parts.output @ value
    return float(np.linalg.eigvals(matrix).real.max()) if np.isfinite(matrix).all() else None


def _feed_forward_stretch(law: Law, x: Array) -> float | None:
    """|F(x)| / |x| of a feed-forward map that moves this token more than attention can; None where it does not."""
    feed_forward, length = feed_forward_of(law), float(_lengths(x))
    if feed_forward is None or length == 0.0 or (isinstance(law, Block) and law.norm != "none"):
        return None
    moved = feed_forward(x[None, None].astype(np.float64))
    stretch = float(np.linalg.norm(moved / length))
    rate = _rate(attention_of(law), len(x))
    return stretch if not stretch <= abs(rate or 0.0) else None


def _kick(setting: Setting, dimension: int) -> float:
    """The root mean square of what noise adds to a token in one step."""
    return float(np.sqrt(2.0 * setting.noise * (setting.step or 0.0) * dimension))


def _short(text: str) -> str:
    """A token's string in quotes, on one line, shortened."""
    return repr(text if len(text) <= 32 else f"{text[:29]}...")
