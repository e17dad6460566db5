"""Which token sees which: m_ij in [0, 1] for every pair, by which the weight of token j is multiplied for token i.

A mask is a small frozen class with a name and `factors`, which gives m_ij for some tokens i and j; a new one
is such a class and a row of MASKS. The masks none, causal and without-self have kernels of their own in every backend.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .draws import key_of, pair_bits

Array = NDArray[np.float64]
UNITS = 2.0**-53  # of the random numbers of `Random`


class Mask(Protocol):
    """What a mask is.

    name      : its word in scenario files
    symmetric : whether m_ij = m_ji, which doubly stochastic attention needs
    """

    name: ClassVar[str]

    @property
    def symmetric(self) -> bool: ...

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """The range of tokens outside of which tokens first..last see nobody."""

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """m_ij for the tokens first <= i < last and low <= j < high, (last - first, high - low)."""


@dataclass(frozen=True)
class Everyone:
    """Every token sees every token."""

    name: ClassVar[str] = "none"
    symmetric: ClassVar[bool] = True

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """See `Mask`."""
        return 0, tokens

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """See `Mask`."""
        return np.ones((last - first, high - low))


@dataclass(frozen=True)
class Causal:
    """A token sees itself and those before it."""

    name: ClassVar[str] = "causal"
    symmetric: ClassVar[bool] = False

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """See `Mask`."""
        return 0, last

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """See `Mask`."""
        i, j = _places(first, last, low, high)
        return (j <= i).astype(np.float64)


@dataclass(frozen=True)
class WithoutSelf:
    """A token sees all but itself."""

    name: ClassVar[str] = "without-self"
    symmetric: ClassVar[bool] = True

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """See `Mask`."""
        return 0, tokens

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """See `Mask`."""
        i, j = _places(first, last, low, high)
        return (j != i).astype(np.float64)


@dataclass(frozen=True)
class Window:
    """A token sees those at most `width` places away; with `causal` only itself and those before it.

    Raises InvalidInput for a negative width.
    """

    width: int
    causal: bool = False
    name: ClassVar[str] = "window"

    def __post_init__(self) -> None:
        _check_integer("width of a window mask", self.width, least=0)

    @property
    def symmetric(self) -> bool:
        """See `Mask`."""
        return not self.causal

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """See `Mask`."""
        return max(0, first - self.width), last if self.causal else min(tokens, last + self.width)

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """See `Mask`."""
        i, j = _places(first, last, low, high)
        near = np.abs(i - j) <= self.width
        return (near & (j <= i) if self.causal else near).astype(np.float64)


@dataclass(frozen=True)
class Block:
    """Tokens in consecutive blocks of `size` see each other and nobody else. Raises InvalidInput for a size below 1."""

    size: int
    name: ClassVar[str] = "block"
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_integer("size of a block mask", self.size, least=1)

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """See `Mask`."""
        return first // self.size * self.size, min(tokens, -(-last // self.size) * self.size)

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """See `Mask`."""
        i, j = _places(first, last, low, high)
        return (i // self.size == j // self.size).astype(np.float64)


@dataclass(frozen=True)
class Random:
    """A token sees itself and each other token with probability `share`, drawn once for every ordered pair.

    The draw is a hash of the pair and the seed, see `draws`. Raises InvalidInput for a share outside [0, 1] or a seed
    that is no integer of at least 0.
    """

    share: float
    seed: int = 0
    name: ClassVar[str] = "random"
    symmetric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise InvalidInput(f"share of a random mask must be between 0 and 1; got {self.share!r}")
        _check_integer("seed of a random mask", self.seed, least=0)

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """See `Mask`."""
        return 0, tokens

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """See `Mask`."""
        i, j = _places(first, last, low, high)
        uniform = (pair_bits(key_of(int(self.seed)), first, last, low, high) >> np.uint64(11)) * UNITS
        return ((uniform < self.share) | (i == j)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Given:
    """m_ij from a matrix (tokens, tokens) of numbers in [0, 1], an array or a sparse one of scipy; 0 is unseen.

    Numbers between 0 and 1 make a soft mask. Raises InvalidInput for another shape or other numbers.
    """

    matrix: Any
    name: ClassVar[str] = "given"
    symmetric: bool = field(init=False)

    def __post_init__(self) -> None:
        rows = self.matrix.tocsr() if hasattr(self.matrix, "tocsr") else np.asarray(self.matrix, np.float64)
        if rows.ndim != 2 or rows.shape[0] != rows.shape[1]:
            raise InvalidInput(f"the matrix of a mask must be square; got the shape {rows.shape}")
        numbers = np.asarray(rows.data if hasattr(rows, "indptr") else rows, np.float64)
        if not ((numbers >= 0) & (numbers <= 1)).all():
            raise InvalidInput("the matrix of a mask must hold numbers between 0 and 1")
        object.__setattr__(self, "matrix", rows)
        difference = abs(rows - rows.T)
        object.__setattr__(self, "symmetric", not (difference.max() > 0) if min(rows.shape) else True)

    def span(self, first: int, last: int, tokens: int) -> tuple[int, int]:
        """See `Mask`. Raises InvalidInput where there are not as many tokens as rows."""
        if self.matrix.shape[0] != tokens:
            raise InvalidInput(f"the matrix of the mask is for {self.matrix.shape[0]} tokens; there are {tokens}")
        return 0, tokens

    def factors(self, first: int, last: int, low: int, high: int) -> Array:
        """See `Mask`."""
        rows = self.matrix[first:last, low:high]
        return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, np.float64)


MASKS: dict[str, type] = {
    kind.name: kind
    for kind in (Everyone, Causal, WithoutSelf, Window, Block, Random, Given)  # type: ignore[attr-defined]
}


def as_mask(value: Any) -> Any:
    """A mask, from one or from the name of one that needs no numbers. Raises InvalidInput for anything else."""
    if isinstance(value, tuple(MASKS.values())):
        return value
    simple = {name: MASKS[name] for name in ("none", "causal", "without-self")}
    if value in simple:
        return simple[value]()
    if isinstance(value, str) and value in MASKS:
        raise InvalidInput(f"mask {value!r} needs its numbers: give masks.{MASKS[value].__name__}(...)")
    raise InvalidInput(f"mask must be one of {', '.join(MASKS)}; got {value!r}")


def _places(first: int, last: int, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of tokens first..last as a column, and of low..high as a row."""
    return np.arange(first, last)[:, None], np.arange(low, high)[None, :]


def _check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInput(f"{name} must be an integer of at least {least}; got {value!r}")
