"""What is added to every score before it is normalised: log pi_ij, the prior of arXiv:2205.12616; and where tokens are.

A new prior is a class with a name and `logs`, and a row of PRIORS. Rotary positions turn queries and keys instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Array = NDArray[np.floating]


class Prior(Protocol):
    """What a prior is."""

    name: ClassVar[str]

    @property
    def symmetric(self) -> bool:
        """Whether pi_ij = pi_ji."""

    def logs(self, first: int, last: int, low: int, high: int, head: int, heads: int) -> Array:
        """log pi_ij for first <= i < last, low <= j < high and one head, (last - first, high - low)."""

    def check(self, tokens: int, heads: int) -> None:
        """Raise InvalidInput unless it is for as many tokens and heads."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """pi_ij > 0 from a matrix (tokens, tokens), or one for every head, (heads, tokens, tokens).

    Raises InvalidInput for other shapes or numbers; where a pair is not to be seen at all, use a mask.
    """

    pi: Any
    name: ClassVar[str] = "matrix"
    symmetric: bool = field(init=False)

    def __post_init__(self) -> None:
        pi = np.asarray(self.pi, np.float64)
        if pi.ndim not in (2, 3) or pi.shape[-1] != pi.shape[-2]:
            raise InvalidInput(f"a prior must be (tokens, tokens) or (heads, tokens, tokens); got the shape {pi.shape}")
        if not (np.isfinite(pi) & (pi > 0)).all():
            raise InvalidInput("a prior must hold numbers above 0; for pairs that are not seen there are masks")
        object.__setattr__(self, "pi", pi)
        object.__setattr__(self, "symmetric", bool((pi == np.swapaxes(pi, -1, -2)).all()))

    def logs(self, first: int, last: int, low: int, high: int, head: int, heads: int) -> Array:
        """See `Prior`."""
        rows = self.pi[head] if self.pi.ndim == 3 else self.pi
        return np.log(rows[first:last, low:high])

    def check(self, tokens: int, heads: int) -> None:
        """See `Prior`."""
        if self.pi.shape[-1] != tokens or (self.pi.ndim == 3 and self.pi.shape[0] != heads):
            raise InvalidInput(
                f"the prior must be ({tokens}, {tokens}) or ({heads}, {tokens}, {tokens}); got {self.pi.shape}"
            )


@dataclass(frozen=True, eq=False)
class Alibi:
    """-slope |i - j|: attention with linear biases. A slope for every head, or by default 2^(-8 (h + 1) / heads).

    Source: arXiv:2108.12409. Raises InvalidInput for slopes that are no finite numbers.
    """

    slopes: Any = None
    name: ClassVar[str] = "alibi"
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.slopes is not None:
            slopes = np.atleast_1d(np.asarray(self.slopes, np.float64))
            if slopes.ndim != 1 or not np.isfinite(slopes).all():
                raise InvalidInput(f"slopes of alibi must be finite numbers; got {self.slopes!r}")
            object.__setattr__(self, "slopes", slopes)

    def logs(self, first: int, last: int, low: int, high: int, head: int, heads: int) -> Array:
        """See `Prior`."""
        slope = 2.0 ** (-8.0 * (head + 1) / heads) if self.slopes is None else self.slopes[head]
        return -slope * np.abs(np.arange(first, last)[:, None] - np.arange(low, high)[None, :])

    def check(self, tokens: int, heads: int) -> None:
        """See `Prior`."""
        if self.slopes is not None and len(self.slopes) != heads:
            raise InvalidInput(f"alibi needs a slope for each of the {heads} heads; got {len(self.slopes)}")


PRIORS: dict[str, type] = {kind.name: kind for kind in (Matrix, Alibi)}  # type: ignore[attr-defined]


def as_prior(value: Any) -> Any:
    """A prior or None, from one, or from "none" and "alibi". Raises InvalidInput for anything else."""
    if value is None or (isinstance(value, str) and value == "none"):
        return None
    if isinstance(value, tuple(PRIORS.values())):
        return value
    if value == "alibi":
        return Alibi()
    raise InvalidInput(f"prior must be none, {', '.join(PRIORS)}; got {value!r}")


def rotary_angles(rotary: float | Array, tokens: int, d: int) -> Array:
    """By how much `rotated` turns the pairs of components of the tokens, (tokens, d / 2)."""
    each = rotary if isinstance(rotary, np.ndarray) else float(rotary) ** (-np.arange(0, d, 2) / d)
    return np.arange(tokens)[:, None] * each


def rotated(x: Array, rotary: float | Array) -> Array:
    """Rotary positions: components 2c, 2c + 1 of token i turned by the angle i theta_c; x (..., tokens, d), d even.

    rotary : the base, theta_c = base^(-2c / d); or the angles theta themselves, (d / 2,)

    Inner products of queries and keys then depend on positions through i - j alone. Source: arXiv:2104.09864.
    """
    tokens, d = x.shape[-2:]
    angles = rotary_angles(rotary, tokens, d)
    cosine, sine = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2], out[..., 1::2] = cosine * even - sine * odd, sine * even + cosine * odd
    return out
