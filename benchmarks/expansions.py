"""Sums over tokens in O(n): what an expansion costs, and how far it is from exact sums on the same tokens."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np
from attndyn.integrators import integrate
from attndyn.integrators.solution import Solution
from attndyn.particles import Attention, Ensemble, Sphere
from attndyn.particles.backends import Engine, Field, prepare
from attndyn.particles.backends.expansions.field import ExpansionField
from numpy.typing import NDArray

from .timing import LeftOut, Measured, Row, side_by_side

Array = NDArray[np.float64]
SIZES = (100_000, 1_000_000)
BETAS = {"harmonics": (1.0, 4.0, 9.0, 25.0), "fourier": (1.0, 9.0, 81.0)}
DIMENSIONS = {"harmonics": 3, "fourier": 2}
SAMPLE = 64


def rows() -> Iterator[Row | LeftOut]:
    """Every measurement of the expansions."""
    yield from on_the_circle()
    yield from on_the_sphere()
    yield from trajectories()
    yield from costs()


def on_the_circle(tokens: int = 1_000_000, beta: float = 9.0, tolerance: float = 1e-14) -> Iterator[Row]:
    """One drift of a million tokens, and its error against exact sums."""
    field, x, out = _expansion("fourier", tokens, beta, tolerance)
    (seconds,) = side_by_side([lambda: field.velocity(0.0, x, out)])
    what = f"fourier, n = {tokens}, beta = {beta:g}, sum_tolerance = {tolerance:g}"
    yield Row(f"drift, {what}", seconds, "s", 0.1, _terms(field))
    size = f"the largest drift is {_longest(out):.2g}"
    yield Row(f"error of the drift, {what}", _error(x, out, beta), f"at most, of {SAMPLE} tokens", 1e-13, size)


def on_the_sphere(tokens: int = 100_000, beta: float = 4.0, tolerance: float = 1e-10) -> Iterator[Row]:
    """One drift of a hundred thousand tokens against our own exact sums: how much faster, and how far off."""
    field, x, out = _expansion("harmonics", tokens, beta, tolerance)
    every_pair, exact = _exact(x, beta), np.empty_like(x)
    few = x[:, :4096].copy()
    _exact(few, beta).velocity(0.0, few, np.empty_like(few))  # kernels are compiled, or loaded, here
    pairs = []
    for _ in range(3):  # in turns
        start = time.perf_counter()
        every_pair.velocity(0.0, x, exact)
        slow = time.perf_counter() - start
        (fast,) = side_by_side([lambda: field.velocity(0.0, x, out)], rounds=1, repeats=100)
        # the mean: a long call cannot avoid what else the machine does, nor may the short ones
        pairs.append((slow, statistics.mean(fast.samples)))
    slow, fast = (Measured(samples) for samples in zip(*pairs, strict=True))
    what = f"harmonics, n = {tokens}, d = 3, beta = {beta:g}, sum_tolerance = {tolerance:g}"
    detail = f"{fast * 1e3:.1f} ms against {slow:.2f} s (at best {min(slow.samples):.2f} s); {_terms(field)}"
    yield Row(f"drift, {what}", slow / fast, "times faster than exact sums", 150.0, detail, at_least=True)
    size = f"the largest drift is {_longest(exact):.2g}"
    yield Row(f"error of the drift, {what}", _longest(out - exact), "at most, of all tokens", 1e-10, size)


def trajectories(tokens: int = 100_000, beta: float = 4.0, t_end: float = 15.0) -> Iterator[Row | LeftOut]:
    """The whole path of a hundred thousand tokens."""
    for method, bar in (("dop853", 12.0), ("tsit5", None)):
        what = f"{method} to t = {t_end:g}, n = {tokens}, d = 3, beta = {beta:g}"
        _follow(method, tokens, beta, 0.01)  # kernels are compiled, or loaded, here
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            solution = _follow(method, tokens, beta, t_end)
            seconds.append(time.perf_counter() - start)
        if solution.status != "finished":
            yield LeftOut(what, solution.status)
            continue
        record = ", ".join(f"{name}: {value}" for name, value in solution.record.items())
        detail = f"{solution.statistics.drift_evaluations} drifts; {record}"
        yield Row(what, Measured(seconds), "s", bar, detail)


def costs(tolerance: float = 1e-10) -> Iterator[Row]:
    """One drift by the number of tokens and beta."""
    for kind, betas in BETAS.items():
        for tokens, beta in itertools.product(SIZES, betas):
            field, x, out = _expansion(kind, tokens, beta, tolerance)
            (seconds,) = side_by_side([lambda f=field, x=x, out=out: f.velocity(0.0, x, out)], rounds=3, repeats=3)
            yield Row(f"drift, {kind}, n = {tokens}, beta = {beta:g}", seconds, "s", detail=_terms(field))


def _expansion(kind: str, tokens: int, beta: float, tolerance: float) -> tuple[ExpansionField, Array, Array]:
    space, engine = Sphere(DIMENSIONS[kind]), Engine(sums=kind, sum_tolerance=tolerance)
    x = space.uniform(np.random.default_rng(0), (1, tokens))
    field = prepare(Attention(beta=beta), space, np.full(tokens, 1.0 / tokens), x.shape, x.dtype, engine)
    assert isinstance(field, ExpansionField)
    return field, x, np.empty_like(x)


def _exact(positions: Array, beta: float) -> Field:
    _, tokens, dimension = positions.shape
    weights = np.full(tokens, 1.0 / tokens)
    return prepare(Attention(beta=beta), Sphere(dimension), weights, positions.shape, positions.dtype)


def _follow(method: str, tokens: int, beta: float, t_end: float) -> Solution:
    start = Ensemble.uniform(Sphere(3), tokens, seed=0)
    law = Attention(beta=beta)
    return integrate(law, start, t_end=t_end, method=method, rtol=1e-8, atol=1e-10, sums="auto")


def _terms(field: ExpansionField) -> str:
    record = field.record()
    return f"{record['terms']} terms, at most {record['most_terms']}; {record['exact_rows']} rows summed exactly"


def _error(positions: Array, drift: Array, beta: float) -> float:
    """How far the drift of some tokens is from plain NumPy's, whose sums are exact to rounding (pairwise in blocks)."""
    x = positions[0]
    rows = np.linspace(0, len(x) - 1, SAMPLE).astype(int)
    numerator, denominator = np.zeros((SAMPLE, x.shape[1])), np.zeros((SAMPLE, 1))
    for start in range(0, len(x), 8192):
        keys = x[start : start + 8192]
        weights = np.exp(beta * (x[rows] @ keys.T - 1.0))
        numerator += weights @ keys
        denominator += weights.sum(axis=1, keepdims=True)
    average = numerator / denominator
    exact = average - np.sum(average * x[rows], axis=1, keepdims=True) * x[rows]
    return _longest(drift[0, rows] - exact)


def _longest(vectors: Array) -> float:
    return float(np.linalg.norm(vectors, axis=-1).max())
