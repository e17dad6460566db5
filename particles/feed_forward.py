"""The feed-forward map of a transformer's block: the same small network for every token.

    F(x) = W_2 act(W_1 x + b_1) + b_2                        W_1 (hidden, dimension), W_2 (dimension, hidden)
    F(x) = W_2 (act(W_g x + b_g) * (W_1 x + b_1)) + b_2      gated, with * by components; W_g (hidden, dimension)

The gated form, with silu, is that of Llama. Source: arXiv:2002.05202.

A new activation is one function and one row of ACTIVATIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # whose parts, which take long to import, are imported when they are used
from numpy.typing import NDArray

from ..errors import InvalidInput
from .arrays import in_single
from .normalisers import checked_numbers, like
from .space import library_of

Array = NDArray[np.floating]


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return library_of(x).clip(x, 0.0, None)


def gelu(x: Any) -> Any:
    """x Phi(x), Phi the distribution function of N(0, 1): the exact form. Source: arXiv:1606.08415."""
    return x * scipy.special.ndtr(x) if isinstance(x, np.ndarray) else _functional(x).gelu(x)


def gelu_tanh(x: Any) -> Any:
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, within 5e-4 of `gelu`. Source: arXiv:1606.08415."""
    if not isinstance(x, np.ndarray):
        return _functional(x).gelu(x, approximate="tanh")
    return 0.5 * x * (1.0 + np.tanh(0.7978845608028654 * (x + 0.044715 * (x * x * x))))


def silu(x: Any) -> Any:
    """x / (1 + exp(-x)). Source: arXiv:1606.08415."""
    return x * scipy.special.expit(x) if isinstance(x, np.ndarray) else _functional(x).silu(x)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": relu, "gelu": gelu, "gelu-tanh": gelu_tanh, "silu": silu}


@dataclass(frozen=True, eq=False)
class FeedForward:
    """The map x -> W_2 act(W_1 x + b_1) + b_2 of every token, or the gated one; see the module.

    Numbers are kept in float32 where that holds them, and computed with in the type of the tokens.

    inner : W_1, (hidden, dimension)        inner_bias : b_1, (hidden,), or None
    outer : W_2, (dimension, hidden)        outer_bias : b_2, (dimension,), or None
    gate  : W_g, (hidden, dimension), or None for none        gate_bias : b_g, (hidden,), or None
    activation : "relu", "gelu" (exact), "gelu-tanh" or "silu"

    Raises InvalidInput for an unknown activation, shapes that do not fit each other, or numbers that are not finite.
    """

    inner: Array
    outer: Array
    inner_bias: Array | None = None
    outer_bias: Array | None = None
    activation: str = "gelu"
    gate: Array | None = None
    gate_bias: Array | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InvalidInput(f"activation must be one of {', '.join(ACTIVATIONS)}; got {self.activation!r}")
        for name, axes in {"inner": 2, "outer": 2, "gate": 2, "inner_bias": 1, "outer_bias": 1, "gate_bias": 1}.items():
            given = getattr(self, name)
            if given is not None or name in ("inner", "outer"):
                object.__setattr__(self, name, in_single(checked_numbers(name, given, axes)))
        hidden, dimension = self.inner.shape
        if self.outer.shape != (dimension, hidden):
            raise InvalidInput(
                f"outer must have the shape (dimension, hidden) = ({dimension}, {hidden}); got {self.outer.shape}"
            )
        if self.gate is not None and self.gate.shape != self.inner.shape:
            raise InvalidInput(f"gate must have the shape of inner, {self.inner.shape}; got {self.gate.shape}")
        if self.gate is None and self.gate_bias is not None:
            raise InvalidInput("gate_bias belongs to a gate; give gate as well")
        for name, rows in (("inner_bias", hidden), ("outer_bias", dimension), ("gate_bias", hidden)):
            bias = getattr(self, name)
            if bias is not None and bias.shape != (rows,):
                raise InvalidInput(f"{name} must have {rows} numbers; got {bias.shape[0]}")

    def check(self, dimension: int) -> None:
        """Raise InvalidInput unless it maps tokens of this dimension."""
        if self.inner.shape[1] != dimension:
            raise InvalidInput(f"inner must have the shape (hidden, {dimension}); got {self.inner.shape}")

    def prepared(self, x: Any) -> Callable[[Any], Any]:
        """The map for arrays or tensors of the type, and on the device, of x."""
        inner, outer = affine(x, self.inner, self.inner_bias), affine(x, self.outer, self.outer_bias)
        activate = ACTIVATIONS[self.activation]
        if self.gate is None:
            return lambda tokens: outer(activate(inner(tokens)))
        gate = affine(x, self.gate, self.gate_bias)
        return lambda tokens: outer(activate(gate(tokens)) * inner(tokens))

    def __call__(self, positions: Any) -> Any:
        """F of every token: an array or a tensor (..., dimension) to the same."""
        return self.prepared(positions)(positions)


def affine(x: Any, matrix: Array, bias: Array | None) -> Callable[[Any], Any]:
    """The map tokens -> matrix token + bias for arrays or tensors of the type, and on the device, of x."""
    numbers, added = like(x, matrix), None if bias is None else like(x, bias)
    if not isinstance(x, np.ndarray):
        return lambda tokens: _functional(tokens).linear(tokens, numbers, added)
    return lambda tokens: tokens @ numbers.T if added is None else tokens @ numbers.T + added


def _functional(x: Any) -> Any:
    """torch's functions of neural networks, each of one pass over a tensor."""
    return library_of(x).nn.functional
