"""A whole trajectory against the integrators a user would pick instead, errors beside the times.

Every right-hand side retracts the tokens, attends and projects: trial steps of an explicit method leave the sphere, and
the answers are compared on it. The error of an answer is the largest distance of a token, over all saved depths, to the
same token of a run at rtol 1e-12. Each peer is timed against our dop853 at the loosest tolerance, from the peer's own
on, whose error is no larger than the peer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Sphere
from numpy.typing import NDArray

from .timing import LeftOut, Row, not_installed, side_by_side

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Uniform tokens on the sphere, softmax, Q = K = V = I, to depth t_end, saved at `frames` depths."""

    tokens: int = 1024
    dimension: int = 3
    beta: float = 4.0
    t_end: float = 15.0
    rtol: float = 1e-8
    atol: float = 1e-10
    frames: int = 16

    @property
    def start(self) -> Array:
        """(tokens, dimension)"""
        return self.ensemble.positions[0]

    @property
    def ensemble(self) -> Ensemble:
        """The start as ours takes it."""
        return Ensemble.uniform(Sphere(self.dimension), self.tokens, seed=0)

    @property
    def depths(self) -> Array:
        """(frames,)"""
        return np.linspace(0.0, self.t_end, self.frames)

    def tightened(self, factor: float) -> Problem:
        """The same with smaller tolerances."""
        return replace(self, rtol=self.rtol / factor, atol=self.atol / factor)


@dataclass(frozen=True)
class Answer:
    """positions (frames, tokens, dimension), and what they took in the solver's own count."""

    positions: Array
    work: str

    def error(self, reference: Answer) -> float:
        """The largest distance of a token to where it should be, over all depths."""
        retracted = self.positions / np.linalg.norm(self.positions, axis=-1, keepdims=True)
        return float(np.linalg.norm(retracted - reference.positions, axis=-1).max())


Solve = Callable[[], Answer]


def rows(problem: Problem = Problem(), rounds: int = 7) -> Iterator[Row | LeftOut]:
    """How many times longer the others take than ours, at no larger error."""
    reference = ours(replace(problem, rtol=1e-12, atol=1e-14))()
    solves: dict[str, Solve] = {"attndyn dop853": ours(problem), "attndyn tsit5": ours(problem, "tsit5")}
    for name, (peer, extra, _) in PEERS.items():
        try:
            solves[name] = peer(problem)
        except ImportError as missing:
            yield LeftOut(f"{name}, trajectory", not_installed(missing, extra))
    answers = {name: solve() for name, solve in solves.items()}
    errors = {name: answer.error(reference) for name, answer in answers.items()}

    rivals: dict[str, str] = {}  # of each peer: ours with no larger error
    for name in [name for name in solves if name in PEERS]:
        rivals[name], rival = as_exact(problem, errors[name], reference)
        solves.setdefault(rivals[name], rival)
        errors.setdefault(rivals[name], rival().error(reference))
    seconds = dict(zip(solves, side_by_side([*solves.values()], rounds, repeats=1), strict=True))

    what = f"trajectory n = {problem.tokens}, d = {problem.dimension}, t = {problem.t_end:g}"
    for name, answer in answers.items():
        detail = f"{answer.work}, error {errors[name]:.1e}"
        if name not in PEERS:
            yield Row(f"{what}, {name}, rtol {problem.rtol:g}", seconds[name], "s", detail=detail)
            continue
        same = rivals[name]
        detail = f"{seconds[name]:.3g} s, {detail}; {same} {seconds[same]:.3g} s, error {errors[same]:.1e}"
        ratio, bar = seconds[name] / seconds[same], PEERS[name][2]
        yield Row(f"{what}, {name}, rtol {problem.rtol:g}", ratio, "times ours", bar, detail, at_least=True)


def as_exact(problem: Problem, error: float, reference: Answer) -> tuple[str, Solve]:
    """Our dop853 at the loosest tolerance, from the problem's on, whose error is not above this one; and its name.

    Where even a thousandth of the tolerance does not do, that one; the rows show both errors.
    """
    for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        solve = ours(problem.tightened(factor))
        if solve().error(reference) <= error:
            break
    return ("attndyn dop853" if factor == 1 else f"attndyn dop853 at rtol {problem.rtol / factor:g}"), solve


def ours(problem: Problem, method: str = "dop853") -> Solve:
    """Ours as a user calls it."""
    law, ensemble = Attention(beta=problem.beta), problem.ensemble

    def solve() -> Answer:
        solution = integrate(
            law, ensemble, t_end=problem.t_end, method=method, rtol=problem.rtol, atol=problem.atol,
            save_at=problem.depths,
        )  # fmt: skip
        if solution.status != "finished":
            raise RuntimeError(f"our own run {solution.status}")
        return Answer(solution.positions[:, 0], f"{solution.statistics.drift_evaluations} drifts")

    return solve


def diffrax_tsit5(problem: Problem) -> Solve:
    """diffrax, jitted, float64, over a dense drift in JAX; compilation is not timed."""
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    beta = problem.beta

    def drift(t, x, _):
        x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        attention = jax.nn.softmax((beta * x) @ x.T, axis=-1) @ x
        return attention - (attention * x).sum(axis=-1, keepdims=True) * x

    control = diffrax.PIDController(rtol=problem.rtol, atol=problem.atol)
    saved = diffrax.SaveAt(ts=jnp.asarray(problem.depths))
    term, solver = diffrax.ODETerm(drift), diffrax.Tsit5()

    @jax.jit
    def run(start):
        solution = diffrax.diffeqsolve(
            term, solver, 0.0, problem.t_end, None, start, saveat=saved, stepsize_controller=control, max_steps=100_000
        )
        return solution.ys, solution.stats["num_steps"]

    start = jnp.asarray(problem.start)

    def solve() -> Answer:
        positions, steps = run(start)
        return Answer(np.asarray(positions), f"{int(steps)} steps of 6 drifts")

    return solve


def torchdiffeq_dopri5(problem: Problem) -> Solve:
    """torchdiffeq, float64, over scaled_dot_product_attention."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from torchdiffeq import odeint

    start, depths = torch.from_numpy(problem.start), torch.from_numpy(problem.depths)

    def solve() -> Answer:
        drifts = 0

        def drift(t, x):
            nonlocal drifts
            drifts += 1
            x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            heads = x[None, None]
            attention = scaled_dot_product_attention(heads, heads, heads, scale=problem.beta)[0, 0]
            return attention - (attention * x).sum(dim=-1, keepdim=True) * x

        with torch.no_grad():
            positions = odeint(drift, start, depths, rtol=problem.rtol, atol=problem.atol, method="dopri5")
        return Answer(positions.numpy(), f"{drifts} drifts")

    return solve


def scipy_dop853(problem: Problem) -> Solve:
    """scipy's solve_ivp over a dense drift in NumPy."""
    from scipy.integrate import solve_ivp

    shape, beta = problem.start.shape, problem.beta

    def drift(t: float, flat: Array) -> Array:
        x = flat.reshape(shape)
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
        weights = (beta * x) @ x.T
        np.exp(weights, out=weights)
        attention = weights @ x / weights.sum(axis=1, keepdims=True)
        return (attention - (attention * x).sum(axis=-1, keepdims=True) * x).ravel()

    def solve() -> Answer:
        answer = solve_ivp(
            drift, (0.0, problem.t_end), problem.start.ravel(), "DOP853", problem.depths,
            rtol=problem.rtol, atol=problem.atol,
        )  # fmt: skip
        return Answer(answer.y.T.reshape(-1, *shape), f"{answer.nfev} drifts")

    return solve


# the solver, the extra it needs, how many times longer than ours it should take
PEERS: dict[str, tuple[Callable[[Problem], Solve], str, float]] = {
    "diffrax Tsit5": (diffrax_tsit5, "benchmark-diffrax", 2.0),
    "torchdiffeq dopri5": (torchdiffeq_dopri5, "benchmark-torchdiffeq", 3.0),
    "scipy DOP853 over NumPy": (scipy_dop853, "benchmark", 3.5),
}
