"""Normalisation of single tokens: the maps n of layer normalisation. A new one is a class and a row of NORMALISERS.

`check` raises where its numbers do not fit the dimension; `prepared` gives the map for arrays or tensors like a given
one; the call maps an array or a tensor (..., dimension) to the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .space import library_of

Array = NDArray[np.floating]
TokenMap = Callable[[Any], Any]


class Normaliser(Protocol):
    """A map of single tokens that fixes their size."""

    def check(self, dimension: int) -> None: ...

    def prepared(self, x: Any) -> TokenMap: ...

    def __call__(self, positions: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class SphereNorm:
    """n(x) = r x / |x|, the retraction to the sphere of radius r."""

    radius: float = 1.0

    def __post_init__(self) -> None:
        _check_size("radius", self.radius)

    def check(self, dimension: int) -> None:
        """It fits every dimension."""

    def prepared(self, x: Any) -> TokenMap:
        """The map itself: it has no arrays."""
        return self

    def __call__(self, positions: Any) -> Any:
        """n of every token, (..., dimension); NaN for a token at the origin."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.radius / library_of(positions).linalg.norm(positions, axis=-1, keepdims=True) * positions


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """n(x) = gain (x - mean) / sqrt(variance + epsilon) + bias, over the components of a token (arXiv:1607.06450).

    gain, bias : one number, or (dimension,); the variance is the mean square of x - mean
    """

    gain: float | Array = 1.0
    bias: float | Array = 0.0
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        _check_size("epsilon", self.epsilon)
        for name in ("gain", "bias"):
            object.__setattr__(self, name, _checked_vector(name, getattr(self, name)))

    def check(self, dimension: int) -> None:
        """Raise InvalidInput unless gain and bias have one number or `dimension`."""
        _check_length("gain", self.gain, dimension)
        _check_length("bias", self.bias, dimension)

    def prepared(self, x: Any) -> TokenMap:
        """The map for arrays or tensors of the type, and on the device, of x."""
        gain, bias = like(x, self.gain), like(x, self.bias)
        if not isinstance(x, np.ndarray):
            library, size = library_of(x), x.shape[-1:]
            gain, bias = (library.as_tensor(n, dtype=x.dtype, device=x.device).expand(size) for n in (gain, bias))
            return lambda tokens: library.nn.functional.layer_norm(tokens, size, gain, bias, self.epsilon)

        def normalise(tokens: Any) -> Any:
            centred = tokens - _mean(tokens)
            return gain * (centred / (_mean(centred * centred) + self.epsilon) ** 0.5) + bias

        return normalise

    def __call__(self, positions: Any) -> Any:
        """n of every token, (..., dimension)."""
        return self.prepared(positions)(positions)


@dataclass(frozen=True, eq=False)
class RMSNorm:
    """n(x) = gain x / sqrt(mean x_k^2 + epsilon), over the components of a token (arXiv:1910.07467).

    gain : one number, or (dimension,)
    """

    gain: float | Array = 1.0
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        _check_size("epsilon", self.epsilon)
        object.__setattr__(self, "gain", _checked_vector("gain", self.gain))

    def check(self, dimension: int) -> None:
        """Raise InvalidInput unless the gain has one number or `dimension`."""
        _check_length("gain", self.gain, dimension)

    def prepared(self, x: Any) -> TokenMap:
        """The map for arrays or tensors of the type, and on the device, of x."""
        gain = like(x, self.gain)
        return lambda tokens: gain * (tokens / (_mean(tokens * tokens) + self.epsilon) ** 0.5)

    def __call__(self, positions: Any) -> Any:
        """n of every token, (..., dimension)."""
        return self.prepared(positions)(positions)


NORMALISERS: dict[str, type[SphereNorm] | type[LayerNorm] | type[RMSNorm]] = {
    "sphere": SphereNorm,
    "layer": LayerNorm,
    "rms": RMSNorm,
}


def like(x: Any, numbers: float | Array) -> Any:
    """Numbers as an array or a tensor of the type, and on the device, of x; one number stays one."""
    if not isinstance(numbers, np.ndarray):
        return numbers
    if isinstance(x, np.ndarray):
        return numbers.astype(x.dtype)
    return library_of(x).as_tensor(numbers, dtype=x.dtype, device=x.device)


def checked_numbers(name: str, value: Any, axes: int) -> Array:
    """A float64 array of its own with so many axes. Raises InvalidInput otherwise, or where one is not finite."""
    array = np.array(value, dtype=np.float64)
    if array.ndim != axes or 0 in array.shape:
        raise InvalidInput(f"{name} must have {axes} axes, none of them empty; got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{name} must be finite; it holds NaN or infinite values")
    return array


def _mean(tokens: Any) -> Any:
    return tokens.mean(axis=-1, keepdims=True)


def _checked_vector(name: str, value: Any) -> float | Array:
    if np.ndim(value) == 0:
        return float(checked_numbers(name, np.reshape(value, 1), 1)[0])
    return checked_numbers(name, value, 1)


def _check_length(name: str, value: float | Array, dimension: int) -> None:
    if isinstance(value, np.ndarray) and value.shape != (dimension,):
        raise InvalidInput(f"{name} must have {dimension} numbers, one for each component; got {value.shape[0]}")


def _check_size(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < np.inf:
        raise InvalidInput(f"{name} must be a positive number; got {value!r}")
