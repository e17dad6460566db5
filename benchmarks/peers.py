"""One drift against what a user would write or pick instead: softmax, Q = K = V = I, tokens on the sphere.

Ours retracts the tokens and projects the drift; the others do the attention alone. Before it is timed, every answer is
projected and compared with ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attndyn.particles import Attention, Sphere
from attndyn.particles.backends import prepare
from numpy.typing import NDArray

from .timing import LeftOut, Row, not_installed, side_by_side

Array = NDArray[np.floating]
# tokens (tokens, dimension) and beta to a call that gives the attention, (tokens, dimension) and perhaps axes before
Peer = Callable[[Array, float], Callable[[], object]]

TOKENS, DIMENSIONS, TYPES = 4096, (3, 16, 64), (np.float64, np.float32)
BETA = 4.0


def rows(tokens: int = TOKENS, rounds: int = 5, repeats: int = 3) -> Iterator[Row | LeftOut]:
    """Nanoseconds per pair of tokens, a column for each peer."""
    for dimension in DIMENSIONS:
        for dtype in TYPES:
            yield from one_drift(tokens, dimension, dtype, rounds, repeats)


def one_drift(tokens: int, dimension: int, dtype: type, rounds: int, repeats: int) -> Iterator[Row | LeftOut]:
    """All peers on the same tokens, taking turns."""
    what = f"n = {tokens}, d = {dimension}, {dtype.__name__}"
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (1, tokens)).astype(dtype)
    out = np.empty_like(x)
    field = prepare(Attention(beta=BETA), space, np.full(tokens, 1.0 / tokens), x.shape, x.dtype)
    field.velocity(0.0, x, out)

    calls: dict[str, Callable[[], object]] = {"attndyn": lambda: field.velocity(0.0, x, out)}
    for name, (peer, extra) in PEERS.items():
        try:
            call = peer(x[0], BETA)
            check(x[0], call(), out[0])
        except ImportError as missing:
            yield LeftOut(f"{name}, {what}", not_installed(missing, extra))
        except Exception as failure:  # KeOps: no compiler, or one that fails, in exceptions of many kinds
            yield LeftOut(f"{name}, {what}", f"it failed: {type(failure).__name__}: {failure}")
        else:
            calls[name] = call
    for name, seconds in zip(calls, side_by_side([*calls.values()], rounds, repeats), strict=True):
        yield Row(what, seconds / (tokens**2 * 1e-9), "ns per pair", column=name)


def check(x: Array, attention: object, ours: Array) -> None:
    """Raise ValueError unless the attention, projected, is our drift."""
    theirs = np.asarray(attention).reshape(x.shape)
    theirs = theirs - (theirs * x).sum(axis=-1, keepdims=True) * x
    difference, allowed = np.abs(theirs - ours).max(), 200 * np.finfo(x.dtype).eps
    if not difference <= allowed:
        raise ValueError(f"its drift differs from ours by {difference:.1e}, more than {allowed:.1e}")


def numpy_dense(x: Array, beta: float) -> Callable[[], object]:
    """All scores at once, in place; on the sphere they are bounded, so no maximum is subtracted."""

    def call() -> Array:
        weights = (beta * x) @ x.T
        np.exp(weights, out=weights)
        return weights @ x / weights.sum(axis=1, keepdims=True)

    return call


def torch_dense(x: Array, beta: float) -> Callable[[], object]:
    """All scores at once."""
    import torch

    tokens = torch.from_numpy(x)
    return lambda: torch.softmax((beta * tokens) @ tokens.T, dim=-1) @ tokens


def torch_attention(x: Array, beta: float) -> Callable[[], object]:
    """scaled_dot_product_attention, torch's fused kernel."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    tokens = torch.from_numpy(x)[None, None]
    return lambda: scaled_dot_product_attention(tokens, tokens, tokens, scale=beta)


def jax_dense(x: Array, beta: float) -> Callable[[], object]:
    """All scores at once, jitted."""
    import jax

    jax.config.update("jax_enable_x64", True)
    drift = jax.jit(lambda tokens: jax.nn.softmax((beta * tokens) @ tokens.T, axis=-1) @ tokens)
    tokens = jax.numpy.asarray(x)
    return lambda: drift(tokens).block_until_ready()


def keops(x: Array, beta: float) -> Callable[[], object]:
    """A LazyTensor, which KeOps compiles into C++ loops."""
    import pykeops
    from pykeops.numpy import LazyTensor

    pykeops.set_verbose(False)
    queries, keys = LazyTensor((beta * x)[:, None, :]), LazyTensor(x[None, :, :])
    scores = queries | keys
    return lambda: scores.sumsoftmaxweight(keys, axis=1, backend="CPU")


PEERS: dict[str, tuple[Peer, str]] = {
    "torch SDPA": (torch_attention, "benchmark"),
    "torch dense": (torch_dense, "benchmark"),
    "NumPy dense": (numpy_dense, "benchmark"),
    "JAX dense, jitted": (jax_dense, "benchmark-jax"),
    "PyKeOps, CPU": (keops, "benchmark-keops"),
}
