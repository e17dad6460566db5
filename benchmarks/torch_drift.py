"""The drift of the torch backend on this processor against torch's scaled_dot_product_attention on the same tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from attndyn.particles import Attention, Sphere
from attndyn.particles.backends import Engine, prepare

from .timing import LeftOut, Row, not_installed, side_by_side

BETA, TOKENS, DIMENSIONS, TYPES = 4.0, 4096, (3, 64), (np.float64, np.float32)
BAR = 1.0


def rows(tokens: int = TOKENS, rounds: int = 5, repeats: int = 5) -> Iterator[Row | LeftOut]:
    """One head, Q = K = V = I on the sphere: ours retracts and projects besides."""
    try:
        for dimension in DIMENSIONS:
            for dtype in TYPES:
                yield against_attention(tokens, dimension, dtype, rounds, repeats)
    except ImportError as missing:
        yield LeftOut("the drift of the torch backend", not_installed(missing, "torch"))


def against_attention(tokens: int, dimension: int, dtype: type, rounds: int, repeats: int) -> Row:
    """The time of a drift as a share of that of the attention alone."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    space = Sphere(dimension)
    positions = space.uniform(np.random.default_rng(0), (1, tokens)).astype(dtype)
    weights = np.full(tokens, 1.0 / tokens)
    field = prepare(Attention(beta=BETA), space, weights, positions.shape, dtype, Engine("torch"))
    state = field.load(positions)
    out, heads = torch.empty_like(state), state[:, None]
    ours, theirs = side_by_side(
        [
            lambda: field.velocity(0.0, state, out),
            lambda: scaled_dot_product_attention(heads, heads, heads, scale=BETA),
        ],
        rounds,
        repeats,
    )
    pairs = tokens**2 * 1e-9
    detail = f"{ours / pairs:.2f} against {theirs / pairs:.2f} ns per pair"
    what = f"torch backend on the CPU, drift, n = {tokens}, d = {dimension}, {dtype.__name__}"
    return Row(what, ours / theirs, "of SDPA", BAR, detail)
