"""Many tokens: n tokens drawn from one law, at depth T, against the limit of infinitely many.

The limit is known for gaussian tokens in R^d whose law keeps them gaussian (`closure`), and for tokens on the circle by
the equation of their density (`density`); else the largest number of tokens that is run stands for it (`largest`).
Errors are root mean squares over replicas: n^(-1/2) in moments, and in W1 on the line, on the circle and of projections
(arXiv:1312.2128).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...data.rates import Series, line, root_mean_squares
from ...integrators.density import density_flow
from ...integrators.gaussian_closure import gaussian_flow
from ...particles import Attention, Ensemble, Sphere
from ...particles.backends import Engine
from ...particles.block import attention_of
from ...particles.circle_density import CircleDensity
from ...particles.empirical import moment_errors, rate, wasserstein_to_density, wasserstein_to_gaussian
from ...particles.gaussian import GaussianMeasure
from ..build import build
from ..schema import Scenario
from .course import followed
from .keys import TokensKeys
from .kinds import Kind, Result, Results, numbered

Array = NDArray[np.float64]
LARGEST = "largest"
MOST_REPLICAS, AT_ONCE = 1024, 2**18  # replicas of one size, and tokens that are moved together
MEASURED, DIRECTIONS = 256, 32  # replicas at once whose sliced W1 is taken, along so many directions
MATCHED = 16  # replicas at once that are matched with tokens of the limit, in O(n^3)


def wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """See `Kind`."""
    if scenario.tokens.from_file is not None:
        yield "tokens.initial", "must be a law from which any number of tokens is drawn; got a file"
    if scenario.tokens.weights is not None or scenario.focus is not None:
        yield "tokens.weights", "must be left out: every token has the weight 1 / n"
    limit = _limit(scenario)
    law, space = getattr(scenario.tokens.initial, "law", None), scenario.space.kind
    if limit == "closure" and (law != "gaussian" or space != "euclidean"):
        yield "limit.limit", f'"closure" is for gaussian tokens in R^d; got {law} ones in a {space} space'
    if limit == "density" and not (space == "sphere" and scenario.dimension == 2 and law in ("uniform", "gaussian")):
        yield "limit.limit", f'"density" is for uniform or gaussian tokens on the circle; got {law} ones'
    if limit != LARGEST and not _alone(scenario):
        yield "limit.limit", f'"{limit}" is the limit of a flow under attention alone; "{LARGEST}" is for any'
    if limit == "closure" and scenario.depth.noise > 0.0:
        yield "depth.noise", f"is not in the closed equations; got {scenario.depth.noise:g}"
    loose = [name for name in scenario.attention.drawn() if getattr(scenario.attention, name).seed is None]
    if loose or scenario.block.drawn():
        key = f"attention.{loose[0]}" if loose else "block.feed_forward"
        yield key, "must not be drawn with the tokens, whose seed is another for every number: give it a seed"
    if scenario.depth.merge is not None:
        yield "depth.merge", "must be left out, for replicas are run together"


def tasks(scenario: Scenario) -> Sequence[str]:
    """See `Kind`: one for each number of tokens, and the one that stands for the limit."""
    counts = sorted(_keys(scenario).counts)
    if _limit(scenario) != LARGEST:
        return numbered("n", counts)
    return [*numbered("n", counts[:-1]), LARGEST]


def run(scenario: Scenario, name: str, engine: Engine) -> Result:
    """See `Kind`: the errors of every replica, name -> (replicas,); or the tokens that stand for the limit."""
    counts = sorted(_keys(scenario).counts)
    if name == LARGEST:
        ends = next(_ends(scenario, counts[-1], 1, engine))
        return {"positions": ends.positions}
    count = int(name.removeprefix("n = "))
    replicas = _replicas(scenario, count)
    if _limit(scenario) == LARGEST:  # compared in `conclude`, when the limit is there
        moments = [_moments(ends) for ends in _ends(scenario, count, replicas, engine)]
        return {key: np.concatenate([each[key] for each in moments]) for key in moments[0]}
    limit, exact = _flowed(scenario), count <= _keys(scenario).exact
    errors = [_errors(ends, limit, exact) for ends in _ends(scenario, count, replicas, engine)]
    return {key: np.concatenate([each[key] for each in errors]) for key in errors[0]}


def conclude(scenario: Scenario, results: Results) -> Findings:
    """See `Kind`."""
    counts, limit = sorted(_keys(scenario).counts), _limit(scenario)
    remarks = [_WHAT[limit]]
    if limit == LARGEST:
        counts, last = counts[:-1], results[LARGEST]["positions"]
        errors = [_against(results[name], last) for name in numbered("n", counts)]
        remarks.append(f"It has {last.shape[1]} tokens.")
    else:
        errors = [results[name] for name in numbered("n", counts)]
    series = []
    for name in errors[0]:
        there = [count for count, each in zip(counts, errors, strict=True) if name in each]
        error, spread = root_mean_squares([np.asarray(each[name], np.float64) for each in errors if name in each])
        order = _order(there, spread / error, scenario.dimension) if name.startswith("W1 of") else -0.5
        series.append(Series(name, "tokens", there, error, "power", None, order, spread))
    return Findings(series, remarks)


_WHAT = {
    "closure": "The limit is the gaussian measure whose mean and covariance solve the closed equations.",
    "density": "The limit is the density on the circle that solves its Fourier equation; W1 is that of the circle.",
    LARGEST: "The limit is unknown: the largest number of tokens stands for it.",
}


def _flowed(scenario: Scenario) -> GaussianMeasure | CircleDensity:
    """The limit at depth T."""
    keys, end = scenario.tokens.initial.model_dump(exclude={"law"}, exclude_none=True), scenario.depth.end
    # what the scenario says of the law and the space, read off a run of few tokens
    plan = build(scenario.override({"tokens.count": 2, "tokens.replicas": 1, "save": None}))
    law, space = attention_of(plan.laws[0]), plan.ensemble.space
    assert isinstance(law, Attention)
    mean = np.asarray(keys.get("mean", np.zeros(space.dimension)), np.float64)
    covariance = np.asarray(keys.get("covariance", keys.get("deviation", 1.0) ** 2 * np.eye(space.dimension)))
    if isinstance(space, Sphere):
        uniform = getattr(scenario.tokens.initial, "law", "") == "uniform"
        start = CircleDensity.uniform() if uniform else CircleDensity.gaussian(mean, covariance)
        return density_flow(law, start, end, radius=space.radius, noise=scenario.depth.noise)[-1]
    return gaussian_flow(law, GaussianMeasure(mean, covariance), end)[-1]


def _errors(ends: Ensemble, limit: GaussianMeasure | CircleDensity, exact: bool) -> dict[str, Array]:
    moments = moment_errors(ends, limit)
    if isinstance(limit, CircleDensity):
        return moments | {"W1": wasserstein_to_density(ends, limit)}
    some = Ensemble(ends.positions[:MEASURED], ends.space)
    sliced = {"sliced W1": wasserstein_to_gaussian(some, limit, directions=DIRECTIONS)}
    if not exact:
        return moments | sliced
    few = Ensemble(ends.positions[:MATCHED], ends.space)
    return moments | sliced | {"W1 of two samples": wasserstein_to_gaussian(few, limit, method="sample")}


def _ends(scenario: Scenario, count: int, replicas: int, engine: Engine) -> Iterator[Ensemble]:
    """The tokens at depth T, some replicas at a time; every size has random streams of its own."""
    seed = int(np.random.SeedSequence((scenario.tokens.seed, count)).generate_state(1)[0])
    together, single = max(1, min(replicas, AT_ONCE // count)), _keys(scenario).float32_from
    for first in range(0, replicas, together):
        changes: dict[str, Any] = {
            "tokens.count": count,
            "tokens.replicas": min(together, replicas - first),
            "save": None,
        }
        if single is not None and count >= single:
            changes["tokens.dtype"] = "float32"
        plan = build(scenario.override(changes | {"tokens.seed": seed + first}))
        yield plan.ensemble.at(followed(plan, engine).final)


def _order(counts: Sequence[int], deviation: Array, dimension: int | None) -> float:
    """The slope of the known order of W1 at these numbers, fitted as errors are: in the plane it has a logarithm."""
    n = np.asarray(counts, np.float64)
    known = deviation if np.isfinite(deviation).all() and (deviation > 0.0).all() else None
    return line(np.log(n), np.log(rate(n, "wasserstein", dimension or 1)), known).value


def _moments(ends: Ensemble) -> dict[str, Array]:
    """Mean (replicas, dimension) and covariance (replicas, dimension, dimension)."""
    x = np.asarray(ends.positions, np.float64)
    mean = x.mean(axis=1)
    centred = x - mean[:, None]
    return {"mean": mean, "covariance": np.swapaxes(centred, 1, 2) @ centred / x.shape[1]}


def _against(found: Result, last: NDArray[np.floating]) -> dict[str, Array]:
    """The errors of moments, each (replicas,), with these tokens (1, tokens, dimension) for the limit."""
    mean, covariance = np.asarray(found["mean"]), np.asarray(found["covariance"])
    x = np.asarray(last[0], np.float64)
    return {
        "mean": np.linalg.norm(mean - x.mean(axis=0), axis=-1),
        "covariance": np.linalg.norm(covariance - np.cov(x.T, bias=True), axis=(-2, -1)),
    }


def _replicas(scenario: Scenario, count: int) -> int:
    keys = _keys(scenario)
    return int(np.clip(keys.work // count, keys.least, MOST_REPLICAS))


def _limit(scenario: Scenario) -> str:
    """The limit that is meant, where the section says "auto"."""
    given = _keys(scenario).limit
    if given != "auto":
        return given
    law = getattr(scenario.tokens.initial, "law", None)
    if not _alone(scenario):
        return LARGEST
    if scenario.space.kind == "euclidean":
        return "closure" if law == "gaussian" and scenario.depth.noise == 0.0 else LARGEST
    return "density" if scenario.dimension == 2 and law in ("uniform", "gaussian") else LARGEST


def _alone(scenario: Scenario) -> bool:
    """Whether it is a flow under one attention and nothing else."""
    block, depth = scenario.block, scenario.depth
    return depth.layers is None and depth.weights == "shared" and block.norm == "none" and block.feed_forward is None


def _keys(scenario: Scenario) -> TokensKeys:
    assert isinstance(scenario.limit, TokensKeys)
    return scenario.limit


KIND = Kind("tokens", wrong, tasks, run, conclude)
