"""Laws that change with depth: piecewise constant, or with matrices that are interpolated between given depths.

With the laws B_0, B_1, ... at the depths 0 = t_0 < t_1 < ... and M standing for any of their matrices,

    piecewise      at depth t acts B_k, t_k <= t < t_{k+1}
    interpolated   M(t) = M_k + (t - t_k) / (t_{k+1} - t_k) (M_{k+1} - M_k)        from the last depth on the last law

An interpolated law is continuous in depth, and smooth between two of its depths.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .backends import Field
from .block import Block, Law, attention_of, feed_forward_of, switches

Array = NDArray[np.floating]

OF_ATTENTION = (
    "beta", "query", "key", "value", "output", "query_bias", "key_bias", "value_bias", "output_bias",
)  # fmt: skip
OF_FEED_FORWARD = ("inner", "outer", "inner_bias", "outer_bias", "gate", "gate_bias")
OF_NORMALISERS = ("normaliser", "feed_forward_normaliser")  # of a block, whose gain and bias are numbers
SLACK = 1e-12  # a depth is reached up to this fraction of it
BELONG_TO_THE_FIELD = ("load", "host", "add_up", "device")


@dataclass(frozen=True, eq=False)
class Schedule:
    """Laws at increasing depths, the first of which is 0.

    laws         : an `Attention` or a `Block` for each depth
    depths       : (laws,)
    interpolated : whether beta, matrices and biases are interpolated; all else is then that of the law before

    Raises InvalidInput for depths that do not increase from 0, for norm mix, and, where interpolated, for laws of
    which one has a number and the other a matrix, or matrices of different shapes.
    """

    laws: Sequence[Law]
    depths: ArrayLike
    interpolated: bool = False

    def __post_init__(self) -> None:
        depths, laws = np.asarray(self.depths, np.float64), tuple(self.laws)
        if depths.ndim != 1 or depths.size != len(laws) or depths.size == 0:
            raise InvalidInput(f"depths must be one for each of the {len(laws)} laws; got the shape {depths.shape}")
        if depths[0] != 0.0 or not np.isfinite(depths).all() or (np.diff(depths) <= 0.0).any():
            raise InvalidInput(f"depths must be finite and increase from 0; got {depths.tolist()}")
        if any(switches(law) for law in laws):
            raise InvalidInput("a schedule does not take norm mix, which has a depth of its own")
        object.__setattr__(self, "laws", laws)
        object.__setattr__(self, "depths", tuple(depths.tolist()))
        if self.interpolated:
            for before, after in pairwise(laws):
                between(numbers_of(before), numbers_of(after), 0.5)

    def at(self, t: float) -> Law:
        """The law at depth t."""
        depths: tuple[float, ...] = self.depths  # type: ignore[assignment]
        k = bisect_right(depths, t * (1.0 + SLACK)) - 1
        here = self.laws[max(k, 0)]
        if not self.interpolated or k + 1 >= len(depths) or t <= depths[k]:
            return here
        theta = (t - depths[k]) / (depths[k + 1] - depths[k])
        return with_numbers(here, between(numbers_of(here), numbers_of(self.laws[k + 1]), theta))


class InterpolatedField:
    """See `Field`: an interpolated schedule, whose law is prepared anew at every depth it is asked for.

    prepare : a law as a field
    """

    def __init__(self, schedule: Schedule, prepare: Callable[[Law], Field], t: float = 0.0) -> None:
        self._schedule, self._prepare = schedule, prepare
        self._kept: tuple[float, Any] = (t, prepare(schedule.at(t)))

    def __getattr__(self, name: str) -> Any:
        if name in BELONG_TO_THE_FIELD:
            return getattr(self._kept[1], name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def velocity(self, t: float, positions: Any, out: Any) -> None:
        """See `Field.velocity`."""
        self._at(t).velocity(t, positions, out)

    def attention_velocity(self, t: float, positions: Any, out: Any) -> None:
        """As `velocity`, of the attention of a block alone."""
        self._at(t).attention_velocity(t, positions, out)

    def feed_forward_velocity(self, t: float, positions: Any, out: Any) -> None:
        """As `velocity`, of the feed-forward map of a block alone."""
        self._at(t).feed_forward_velocity(t, positions, out)

    def attention(self, t: float, positions: Any, out: Any) -> None:
        """See `Field.attention`."""
        self._at(t).attention(t, positions, out)

    def statistics(self, positions: Any) -> tuple[Any, Any]:
        """See `Field.statistics`: at the depth last asked for."""
        return self._kept[1].statistics(positions)

    def _at(self, t: float) -> Any:
        if t != self._kept[0]:
            self._kept = t, self._prepare(self._schedule.at(t))
        return self._kept[1]


def laws_of(law: Law | Schedule | Sequence[Law]) -> Sequence[Law]:
    """All laws of what may be integrated: one, those of a schedule, or one per layer."""
    if isinstance(law, Law):
        return (law,)
    return law.laws if isinstance(law, Schedule) else law


def breaks(law: Law | Schedule) -> tuple[float, ...]:
    """The depths above 0 at which the law, or how it changes, is another: no step goes across one."""
    if isinstance(law, Schedule):
        depths: tuple[float, ...] = law.depths  # type: ignore[assignment]
        return depths[1:]
    return switches(law)


def numbers_of(law: Law) -> dict[str, Any]:
    """What is interpolated: beta, the matrices, the biases and the gains of a law, by name."""
    found = {name: getattr(attention_of(law), name) for name in OF_ATTENTION}
    feed = feed_forward_of(law)
    if feed is not None:
        found |= {name: getattr(feed, name) for name in OF_FEED_FORWARD}
    for own in OF_NORMALISERS:
        normaliser = getattr(law, own, None)
        found |= {f"{own}.{name}": getattr(normaliser, name) for name in ("gain", "bias") if hasattr(normaliser, name)}
    return found


def with_numbers(law: Law, numbers: dict[str, Any]) -> Law:
    """A law with these numbers, under names of `numbers_of`, in the place of its own."""
    own = {name: value for name, value in numbers.items() if name in OF_ATTENTION}
    attention = replace(attention_of(law), **own) if own else attention_of(law)
    if not isinstance(law, Block):
        return attention
    feed = law.feed_forward
    if feed is not None:
        feed = replace(feed, **{name: value for name, value in numbers.items() if name in OF_FEED_FORWARD})
    normalisers: dict[str, Any] = {own: getattr(law, own) for own in OF_NORMALISERS}
    for key, value in numbers.items():
        whose, _, name = key.partition(".")
        if whose in normalisers:
            normalisers[whose] = replace(normalisers[whose], **{name: value})
    return replace(law, attention=attention, feed_forward=feed, **normalisers)


def between(before: dict[str, Any], after: dict[str, Any], theta: float) -> dict[str, Any]:
    """before + theta (after - before) for each name. Raises InvalidInput where they are not of one form."""
    if before.keys() != after.keys():
        raise InvalidInput("an interpolated schedule needs laws of one form; only some have a feed-forward map")
    mixed = {}
    for name, first in before.items():
        last = after[name]
        if np.shape(first) != np.shape(last) or (first is None) != (last is None):
            forms = " and ".join(_form(value) for value in (first, last))
            raise InvalidInput(f"{name} must have one form in an interpolated schedule; got {forms}")
        same = first is last or (isinstance(first, float) and first == last)
        if not same and np.isinf([first, last] if name == "beta" else 0.0).any():
            raise InvalidInput(f"beta must be finite, or infinite throughout, where interpolated; got {first}, {last}")
        mixed[name] = first if same else first + theta * (np.subtract(last, first, dtype=np.float64))
    return mixed


def _form(value: float | Array | None) -> str:
    if value is None:
        return "none"
    return "a number" if np.ndim(value) == 0 else f"the shape {np.shape(value)}"
