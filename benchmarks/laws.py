"""One drift under every score and normalisation, beside softmax of dot products."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from attndyn.particles import Attention, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.normalisations import Entmax, TopK
from attndyn.particles.scores import Student

from .timing import Row, side_by_side

TOKENS, BETA = 4096, {3: 4.0, 64: 16.0}
ONE_PASS = {
    "scaled-dot": {"score": "scaled-dot"},
    "cosine": {"score": "cosine"},
    "gaussian (L2)": {"score": "gaussian"},
    "laplace": {"score": "laplace"},
    "student": {"score": "student"},
    "student 2.5": {"score": Student(2.5)},
    "unnormalised": {"normalisation": "none"},
    "linear": {"normalisation": "linear"},
    "sigmoid": {"normalisation": "sigmoid"},
    "relu": {"normalisation": "relu"},
}
MORE_PASSES = {
    "sinkhorn": {"normalisation": "sinkhorn"},
    "sparsemax": {"normalisation": "sparsemax"},
    "entmax 1.5": {"normalisation": Entmax(1.5)},
    "entmax 1.3": {"normalisation": Entmax(1.3)},
    "top-k, k = 32": {"normalisation": TopK(32)},
    "hardmax": {"normalisation": "hardmax"},
}


def rows() -> Iterator[Row]:
    """Every law at d = 3 and d = 64, float64."""
    for dimension, beta in BETA.items():
        softmax = _drift(dimension, beta, {})
        for name, parts in (ONE_PASS | MORE_PASSES).items():
            shift = {"shift": beta} if name == "unnormalised" else {}
            law = _drift(dimension, beta, parts | shift)
            ours, plain = side_by_side([law, softmax], rounds=5)
            detail = f"{ours / TOKENS**2 * 1e9:.2f} against {plain / TOKENS**2 * 1e9:.2f} ns per pair"
            if name == "sinkhorn":
                detail += f"; {law.args[0].record()['sinkhorn_iterations']} iterations"
            bar = 1.5 if name in ONE_PASS else None
            yield Row(f"drift, {name}, n = {TOKENS}, d = {dimension}", ours / plain, "of softmax", bar, detail)


def _drift(dimension: int, beta: float, parts: dict) -> partial:
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (1, TOKENS))
    weights = np.full((1, TOKENS), 1.0 / TOKENS)
    field = prepare(Attention(beta=beta, **parts), space, weights, x.shape, x.dtype, Engine())
    return partial(_evaluate, field, x, np.empty_like(x))


def _evaluate(field, x, out) -> None:
    field.velocity(0.0, x, out)
