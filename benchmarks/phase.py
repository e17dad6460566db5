"""The phase diagram of arXiv:2312.10794, figure 4: 2048 starts of 32 tokens on the circle for each of 90 betas.

What it is measured against is the form of the published script: dense batched products in PyTorch, float64, every layer
x <- (x + h softmax(beta x x^T) x) / |.|, with the share of pairs whose cosine is at least 1 - 1e-3 at 200 depths.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Sphere
from attndyn.particles.observables import ALIGNED, measure

from .timing import Row, side_by_side

REPLICAS, TOKENS, BETAS, BETA = 2048, 32, 90, 4.0
LAYERS, STEP = 300, 0.1
DEPTHS = np.unique(np.rint(np.linspace(0, LAYERS, 200)).astype(int))  # layers after which the share is taken
NETWORK = {"layers": LAYERS, "step": STEP}
RK4 = {"t_end": LAYERS * STEP, "method": "rk4", "step": STEP}
ADAPTIVE = {"t_end": LAYERS * STEP, "method": "tsit5", "rtol": 1e-6, "atol": 1e-8}


def rows() -> Iterator[Row]:
    """Every measurement of the phase diagram, one beta at a time."""
    starts = {dtype: Ensemble.uniform(Sphere(2), TOKENS, REPLICAS, dtype=dtype) for dtype in (np.float64, np.float32)}
    double, single = starts[np.float64], starts[np.float32]
    theirs, ours, short = side_by_side(
        [lambda: published(double.positions), lambda: moved(double, NETWORK), lambda: moved(single, NETWORK)],
        rounds=3,
        repeats=1,
    )
    what, against = f"phase diagram, {REPLICAS} replicas", "times as fast as dense batched torch"
    for name, seconds, bar in (("float64", ours, 35.0), ("float32", short, 15.0)):
        detail = f"{seconds:.3f} against {theirs:.2f} s per beta"
        yield Row(f"{what}, layers, {name}", theirs / seconds, against, 30.0, detail, at_least=True)
        yield Row(f"{what}, layers, {name}, {BETAS} betas", BETAS * seconds, "s, projected", bar)
    (end, shares), (expected, their_shares) = moved(double, NETWORK), published(double.positions)
    apart = f"shares of aligned pairs {np.abs(shares - their_shares).max():.1g} apart"
    yield Row(f"{what}, layers, end states", float(np.abs(end - expected).max()), "from torch", 1e-10, apart)
    ways = {"rk4, step 0.1": (RK4, 120.0), "tsit5, rtol 1e-6": (ADAPTIVE, None)}
    times = side_by_side([lambda way=way: moved(double, way) for way, _ in ways.values()], rounds=3, repeats=1)
    for name, (_, bar), seconds in zip(ways, ways.values(), times, strict=True):
        detail = f"{seconds:.3f} s per beta"
        yield Row(f"{what}, {name}, {BETAS} betas", BETAS * seconds, "s, projected", bar, detail)


def moved(start: Ensemble, way: dict) -> tuple[np.ndarray, np.ndarray]:
    """The end states of one beta, and the shares of aligned pairs (depths,), averaged over the replicas."""
    shares = []

    def keep(step: int, t: float, ensemble: Ensemble) -> None:
        shares.append(measure(["aligned_pairs"], ensemble)["aligned_pairs"].mean())

    solution = integrate(Attention(beta=BETA), start, save_at=DEPTHS * STEP, on_save=keep, **way)
    return solution.final, np.array(shares)


def published(start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in the form of the published script."""
    import torch

    x = torch.from_numpy(start)
    pairs, shares = TOKENS * (TOKENS - 1), []
    for layer in range(LAYERS + 1):
        if layer in DEPTHS:
            aligned = (x @ x.mT >= ALIGNED).sum(dim=(1, 2)) - TOKENS
            shares.append(float((aligned.double() / pairs).mean()))
        if layer < LAYERS:
            x = x + STEP * (torch.softmax(BETA * (x @ x.mT), dim=-1) @ x)
            x = x / x.norm(dim=-1, keepdim=True)
    return x.numpy(), np.array(shares)
